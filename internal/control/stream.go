package control

import (
	"bufio"
	"encoding/json"
	"net/http"
	"time"
)

// flushEvery is how long a line may wait for others. Chosen: a person watches.
const flushEvery = 200 * time.Millisecond

// frame is one line of a stream, or the body of an error.
type frame struct {
	Item  any    `json:"item,omitempty"`
	End   *end   `json:"end,omitempty"`
	Error *Error `json:"error,omitempty"`
}

type end struct {
	Items int `json:"items"`
}

// stream writes JSON lines with a deadline for each piece that is sent.
type stream struct {
	w       *bufio.Writer
	control *http.ResponseController
	flushed time.Time
	items   int
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/jsonl")
	return &stream{w: bufio.NewWriterSize(w, 32<<10), control: http.NewResponseController(w)}
}

func (s *stream) line(f frame) error {
	octets, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if f.Item != nil {
		s.items++
	}
	now := time.Now()
	if s.w.Available() <= len(octets) || now.Sub(s.flushed) > flushEvery {
		_ = s.control.SetWriteDeadline(now.Add(writeTimeout)) // an unbounded write is cut by the call's deadline
	}
	if _, err := s.w.Write(append(octets, '\n')); err != nil {
		return err
	}
	if now.Sub(s.flushed) > flushEvery {
		s.flushed = now
		return s.flush()
	}
	return nil
}

func (s *stream) flush() error {
	if err := s.w.Flush(); err != nil {
		return err
	}
	return s.control.Flush()
}

// end writes the last line, without which the client knows that it was cut.
func (s *stream) end(err error) {
	last := frame{End: &end{Items: s.items}}
	if err != nil {
		last = frame{Error: asError(err)}
	}
	if s.line(last) == nil {
		_ = s.flush() // a client that left needs no answer
	}
}
