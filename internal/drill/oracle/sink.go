package oracle

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Arrival is one recipient of one message as a sink took it.
type Arrival struct {
	ID          string // "" when there was no mark
	Recipient   string // as in RCPT, without angle brackets
	ReversePath string
	Intact      bool // all octets after the mark are those that were sent
	Octets      int
	Begun       time.Time // when DATA or the first BDAT was read
	At          time.Time // when the 250 to the end of data was handed to the kernel
	// Failed lists the Final-Recipients of a DSN with a null reverse-path whose
	// action is failed; nil for other mail.
	Failed []string
	// MessageID is the Message-ID field of a DSN, which tells a second copy from
	// a second report.
	MessageID string
}

// SinkConfig says how a sink behaves.
type SinkConfig struct {
	// Addr is where to listen, "127.0.0.1:0" when empty.
	Addr string
	// Rcpt may answer a RCPT; "" means 250. attempt counts from 1 for each
	// recipient.
	Rcpt func(recipient string, attempt int) string
	// EndOfData may answer the end of data; "" means 250.
	EndOfData func(id string) string
	// Lenient also takes the look-alikes of CRLF.CRLF for the end of data, as the
	// victims of smuggling do.
	Lenient bool
	// NoChunking leaves CHUNKING out of the reply to EHLO.
	NoChunking bool
	// Keep stores the content of every message in Kept.
	Keep bool
}

// Sink is an SMTP server that remembers. It is safe for concurrent use.
type Sink struct {
	cfg      SinkConfig
	listener net.Listener
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu       sync.Mutex
	arrivals []Arrival
	attempts map[string]int
	kept     [][]byte
	conns    map[net.Conn]bool
	sessions int
	changed  chan struct{} // closed and renewed at each arrival
}

// NewSink listens and serves until Close.
func NewSink(cfg SinkConfig) (*Sink, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sink{cfg: cfg, listener: l, cancel: cancel, attempts: map[string]int{}, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	s.wg.Go(func() { s.accept(ctx) })
	return s, nil
}

// Addr is "127.0.0.1:port".
func (s *Sink) Addr() string { return s.listener.Addr().String() }

// Port is the port that the sink listens on.
func (s *Sink) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Close stops listening, drops every session and waits for them.
func (s *Sink) Close() {
	s.cancel()
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Arrivals is a copy of all that came.
func (s *Sink) Arrivals() []Arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Arrival(nil), s.arrivals...)
}

// Kept is the content of every message in the order of arrival, when
// SinkConfig.Keep was set.
func (s *Sink) Kept() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.kept...)
}

// Sessions is the number of connections so far.
func (s *Sink) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// WaitFor returns when done is true of the arrivals, or with the context's
// error.
func (s *Sink) WaitFor(ctx context.Context, done func([]Arrival) bool) error {
	for {
		s.mu.Lock()
		changed, now := s.changed, s.arrivals
		s.mu.Unlock()
		if done(now) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (s *Sink) accept(ctx context.Context) {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		s.mu.Lock()
		s.conns[c] = true
		s.sessions++
		s.mu.Unlock()
		s.wg.Go(func() {
			(&sinkSession{sink: s, conn: c, r: bufio.NewReaderSize(c, 64<<10)}).serve()
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

type sinkSession struct {
	sink       *Sink
	conn       net.Conn
	r          *bufio.Reader
	from       string
	recipients []string
	chunks     []byte
	begun      time.Time
}

// say collects nothing: one write a reply unless more commands wait already.
func (c *sinkSession) say(lines ...string) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(ReplyTimeout))
	_, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n")
	return err
}

func (c *sinkSession) serve() {
	if c.say("220 sink.test ESMTP oracle") != nil {
		return
	}
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(5 * time.Minute)) // RFC 5321 section 4.5.3.2.7
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		if err := c.command(strings.TrimRight(line, "\r\n")); err != nil {
			return
		}
	}
}

var errQuit = errors.New("quit")

func (c *sinkSession) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		lines := []string{"250-sink.test", "250-PIPELINING", "250-8BITMIME", "250-SIZE 104857600", "250-SMTPUTF8", "250-ENHANCEDSTATUSCODES", "250-DSN"}
		if !c.sink.cfg.NoChunking {
			lines = append(lines, "250-CHUNKING")
		}
		return c.say(append(lines, "250 HELP")...)
	case "HELO":
		return c.say("250 sink.test")
	case "MAIL":
		c.reset()
		c.from = between(rest)
		return c.say("250 2.1.0 ok")
	case "RCPT":
		return c.rcpt(between(rest))
	case "DATA":
		return c.data()
	case "BDAT":
		return c.bdat(rest)
	case "RSET":
		c.reset()
		return c.say("250 2.0.0 ok")
	case "NOOP":
		return c.say("250 2.0.0 ok")
	case "QUIT":
		_ = c.say("221 2.0.0 bye")
		return errQuit
	}
	return c.say("500 5.5.1 what?")
}

func (c *sinkSession) reset() {
	c.from, c.recipients, c.chunks, c.begun = "", nil, nil, time.Time{}
}

func (c *sinkSession) rcpt(to string) error {
	s := c.sink
	s.mu.Lock()
	s.attempts[to]++
	n := s.attempts[to]
	s.mu.Unlock()
	if s.cfg.Rcpt != nil {
		if r := s.cfg.Rcpt(to, n); r != "" {
			return c.say(r)
		}
	}
	c.recipients = append(c.recipients, to)
	return c.say("250 2.1.5 ok")
}

func (c *sinkSession) data() error {
	if len(c.recipients) == 0 {
		return c.say("503 5.5.1 no recipients")
	}
	c.begun = time.Now()
	if err := c.say("354 go on"); err != nil {
		return err
	}
	raw, err := c.readData()
	if err != nil {
		return err
	}
	return c.take(unstuff(raw))
}

// lookalikes are what lenient servers have taken for the end of data.
var lookalikes = [][]byte{
	[]byte("\r\n.\r\n"), []byte("\n.\n"), []byte("\n.\r\n"), []byte("\r.\r\n"), []byte("\r.\n"), []byte("\r.\r"),
	[]byte("\r\n\x00.\r\n"), []byte("\r\n.\x00\r\n"), []byte("\r\n.\r\x00\n"),
}

func (c *sinkSession) readData() ([]byte, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	ends := lookalikes
	if !c.sink.cfg.Lenient {
		ends = ends[:1]
	}
	raw := []byte("\r\n")
	for {
		part, err := c.r.ReadSlice('.')
		raw = append(raw, part...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		// The look-alikes end within three octets after their dot.
		for range 3 {
			next, err := c.r.Peek(1)
			if err != nil {
				return nil, err
			}
			if next[0] != '\r' && next[0] != '\n' && next[0] != 0 {
				break
			}
			b, _ := c.r.ReadByte() // peeked
			raw = append(raw, b)
			for _, e := range ends {
				if body, ok := bytes.CutSuffix(raw, e); ok {
					return append(body, "\r\n"...)[min(2, len(body)+2):], nil
				}
			}
		}
	}
}

func (c *sinkSession) bdat(rest string) error {
	size, last, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 || n > 100<<20 {
		return errQuit
	}
	if c.begun.IsZero() {
		c.begun = time.Now()
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	chunk := make([]byte, n)
	if _, err := io.ReadFull(c.r, chunk); err != nil {
		return err
	}
	if len(c.recipients) == 0 {
		return c.say("503 5.5.1 no recipients")
	}
	c.chunks = append(c.chunks, chunk...)
	if !strings.EqualFold(last, "LAST") {
		return c.say("250 2.0.0 chunk")
	}
	return c.take(c.chunks)
}

// take notes the arrival before it answers: what the sender may forget, the
// oracle has.
func (c *sinkSession) take(content []byte) error {
	id, intact, _ := readMark(content)
	s := c.sink
	if s.cfg.EndOfData != nil {
		if r := s.cfg.EndOfData(id); r != "" {
			c.reset()
			return c.say(r)
		}
	}
	var failed []string
	messageID := ""
	if c.from == "" {
		failed, messageID = finalRecipients(content), headerField(content, "message-id")
	}
	s.mu.Lock()
	for _, to := range c.recipients {
		s.arrivals = append(s.arrivals, Arrival{
			ID: id, Recipient: to, ReversePath: c.from, Intact: intact, Octets: len(content), Begun: c.begun, At: time.Now(), Failed: failed, MessageID: messageID,
		})
	}
	if s.cfg.Keep {
		s.kept = append(s.kept, content)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	c.reset()
	return c.say("250 2.0.0 taken")
}

// finalRecipients reads the addresses of failed recipients out of a report,
// RFC 3464 section 2.3.
func finalRecipients(content []byte) []string {
	var out []string
	final := ""
	for line := range strings.SplitSeq(string(content), "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch strings.ToLower(name) {
		case "final-recipient":
			_, addr, _ := strings.Cut(value, ";")
			final = strings.TrimSpace(addr)
		case "action":
			if strings.EqualFold(strings.TrimSpace(value), "failed") && final != "" {
				out = append(out, final)
			}
			final = ""
		}
	}
	return out
}

// headerField is the first line of the named field's value, "" when there is
// none. name is in lower case.
func headerField(content []byte, name string) string {
	for line := range strings.SplitSeq(string(content), "\r\n") {
		if line == "" {
			return ""
		}
		if field, value, ok := strings.Cut(line, ":"); ok && strings.ToLower(field) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// between returns what stands between the first < and the last >.
func between(s string) string {
	_, s, _ = strings.Cut(s, "<")
	i := strings.Index(s, ">")
	if i < 0 {
		return s
	}
	return s[:i]
}
