package smtpserver

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDialogues plays every file of testdata/dialogues against a server. A
// line is one of
//
//	# words              a comment
//	config: name ...     what the server is (see dialogueConfig); before all else
//	C: text              the client sends text and CRLF
//	C! "text"            the client sends a Go string as it is, without CRLF
//	S: text              the server says this line; a * at the end stands for any text
//	S* 250               the server says a reply with this code, of any words and lines
//	TLS                  both make TLS
//	closed               the server closes the connection, without another octet
//	messages: n          so many messages were accepted
//	content: "text"      the last one's content
//	aborted: n           so many contents were begun and given up
//	reconnect            a new connection
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "dialogues", "*.txt"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d dialogues, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, string(text))
		})
	}
}

// dialogueConfig makes a Config from the words of a config line.
func dialogueConfig(t *testing.T, words []string, server *tls.Config) Config {
	c := Config{TLS: server}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "submission":
			c.Submission = true
		case "require-tls":
			c.RequireTLS = true
		case "no-tls":
			c.TLS = nil
		case "normalise":
			c.Newlines = 1
		case "proxy":
			c.ProxyProtocol = true
		case "xclient":
			c.XClientFrom = append(c.XClientFrom, prefix("127.0.0.0/8"))
		case "size":
			c.MaxContentOctets = int64(n)
		case "line":
			c.MaxContentLine = n
		case "recipients":
			c.MaxRecipients = n
		case "refused":
			c.MaxRefusedRecipients = n
		case "messages":
			c.MaxMessages = n
		case "errors":
			c.MaxErrors = n
		case "verbs":
			c.MaxVerbs = n
		case "auth-failures":
			c.MaxAuthFailures = n
		default:
			t.Fatalf("config: %s", w)
		}
	}
	return c
}

func play(t *testing.T, text string) {
	server, secure := testTLS(t)
	var s *started
	var c *client
	rec := &recorder{}
	ready := func(words []string) {
		s = start(t, dialogueConfig(t, words, server), rec)
		c = dial(t, s.addr)
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\n")
		word, arg, _ := strings.Cut(line, " ")
		if line == "" || word == "#" {
			continue
		}
		if word == "config:" {
			ready(strings.Fields(arg))
			continue
		}
		if s == nil {
			ready(nil)
		}
		switch word {
		case "TLS":
			c.startTLS(secure)
		case "reconnect":
			c = dial(t, s.addr)
		default:
			if problem := step(c, rec, word, arg); problem != "" {
				t.Fatalf("line %d: %s: %s", number, line, problem)
			}
		}
	}
}

// step plays one line and returns what is wrong.
func step(c *client, rec *recorder, word, arg string) string {
	switch word {
	case "C:":
		c.send(arg + "\r\n")
	case "C!":
		raw, err := strconv.Unquote(arg)
		if err != nil {
			return err.Error()
		}
		c.send(raw)
	case "S:":
		got, err := c.br.ReadString('\n')
		got, crlf := strings.CutSuffix(got, "\r\n")
		start, any := strings.CutSuffix(arg, "*")
		if err != nil || !crlf || got != arg && !(any && strings.HasPrefix(got, start)) {
			return fmt.Sprintf("got %q, %v", got, err)
		}
	case "S*":
		if lines := c.reply(); !strings.HasPrefix(lines[0], arg) {
			return fmt.Sprintf("got %q", lines)
		}
	case "closed":
		c.wantClosed()
	case "messages:":
		if n := len(rec.got()); strconv.Itoa(n) != arg {
			return fmt.Sprintf("%d messages", n)
		}
	case "aborted:":
		until(c.t, "content to be given up", func() bool { _, _, n := rec.counts(); return strconv.Itoa(n) == arg })
	case "content:":
		got := rec.got()
		want, err := strconv.Unquote(arg)
		if err != nil || len(got) == 0 || got[len(got)-1].content != want {
			return fmt.Sprintf("%d messages, %v, %+v", len(got), err, got)
		}
	default:
		return "not a word of dialogues"
	}
	return ""
}
