package smtpserver

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/smtpwire"
)

// vectors reads the end-of-content look-alikes of the smuggling scanners.
func vectors(t *testing.T) map[string]string {
	data, err := os.ReadFile(filepath.Join(suite(t, "smtp-smuggling"), "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			ID  string `json:"id"`
			Hex string `json:"end_of_data_hex"`
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, v := range file.Vectors {
		end, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		out[v.ID] = string(end)
	}
	if len(out) < 5 {
		t.Fatalf("%d vectors", len(out))
	}
	return out
}

func TestNoSmugglingVectorMakesTwoMessages(t *testing.T) {
	for id, end := range vectors(t) {
		for _, mode := range []smtpwire.Newlines{smtpwire.Reject, smtpwire.Normalise} {
			s := start(t, Config{Newlines: mode}, &recorder{anyone: true})
			c := dial(t, s.addr)
			transact(c)
			c.send("Subject: bait\r\n\r\nbody" + end +
				"MAIL FROM:<evil@relay>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nsmuggled\r\n.\r\nQUIT\r\n")
			answer := c.reply()[0]
			switch n := len(s.rec.got()); {
			case mode == smtpwire.Reject && (n != 0 || answer[0] != '5'):
				t.Errorf("%s: %d messages, %s", id, n, answer)
			case n > 1:
				t.Errorf("%s, normalising: %d messages", id, n)
			case n == 1 && !strings.Contains(s.rec.got()[0].content, "smuggled"):
				t.Errorf("%s, normalising: the message ended early", id)
			}
		}
	}
}

// chasquidExceptions are the lines of chasquid's dialogues whose codes differ
// here, and why. The dialogue ends there.
func chasquidExceptions() map[string]string {
	return map[string]string{
		"bad_data.cmy: c <~ 554 5.6.0 Error parsing message": "this package does not look at header fields; a judge may",
		"message_too_big.cmy: c -> QUIT":                     "after any error inside content the connection closes",
	}
}

func TestChasquidDialoguesGetTheirCodes(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(suite(t, "smtp-chasquid-dialogs"), "*.cmy"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d dialogues, %v", len(files), err)
	}
	server, secure := testTLS(t)
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			plain := start(t, Config{TLS: server, MaxContentOctets: 1 << 20}, nil)
			implicit := start(t, Config{TLS: server, ImplicitTLS: true, Submission: true}, nil)
			var c *client
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSuffix(line, "\n")
				if why, ok := chasquidExceptions()[name+": "+line]; ok {
					t.Logf("%s: differs: %s", line, why)
					return
				}
				switch {
				case !strings.HasPrefix(line, "c "):
				case strings.HasPrefix(line, "c tcp_connect"):
					c = dial(t, plain.addr)
				case strings.HasPrefix(line, "c tls_connect"):
					c = dial(t, implicit.addr)
					c.startTLS(secure)
				default:
					chasquidLine(c, line)
				}
			}
			verify, err := os.ReadFile(file + ".verify")
			if err != nil {
				return
			}
			want := strings.ReplaceAll(string(verify), "\n", "\r\n")
			if got := plain.rec.got(); len(got) != 1 || strings.TrimSpace(got[0].content) != strings.TrimSpace(want) {
				t.Errorf("kept %+v, want %q", got, want)
			}
		})
	}
}

// chasquidLine plays one line; of what the server says only the code counts.
func chasquidLine(c *client, line string) {
	c.t.Helper()
	line = strings.TrimPrefix(line, "c ")
	op, arg, _ := strings.Cut(line, " ")
	switch op {
	case "->":
		c.send(arg + "\r\n")
	case "~>":
		c.send(pythonString(c.t, arg))
	case "<-", "<~", "<...":
		c.want(arg[:3])
	case "close":
		_ = c.nc.Close()
	default:
		c.t.Fatalf("line %q", line)
	}
}

// pythonString evaluates the two shapes that the dialogues use: a literal, and
// ('a' * n + 'x') * m.
func pythonString(t testing.TB, s string) string {
	t.Helper()
	unquote := func(s string) string {
		out, err := strconv.Unquote(`"` + strings.Trim(strings.TrimSpace(s), "'") + `"`)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if !strings.HasPrefix(s, "(") {
		return unquote(s)
	}
	inner, times, _ := strings.Cut(strings.TrimPrefix(s, "("), ") * ")
	first, second, _ := strings.Cut(inner, " + ")
	letter, n, _ := strings.Cut(first, " * ")
	count, err1 := strconv.Atoi(n)
	outer, err2 := strconv.Atoi(times)
	if err1 != nil || err2 != nil {
		t.Fatalf("%q: %v, %v", s, err1, err2)
	}
	return strings.Repeat(strings.Repeat(unquote(letter), count)+unquote(second), outer)
}

func TestJamesScriptsGetTheirCodes(t *testing.T) {
	dir := suite(t, "smtp-james-mpt")
	for _, name := range []string{"helo.test", "data_starts_with_starttls.test", "starttls_session_fixation.test"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			server, _ := testTLS(t)
			s := start(t, Config{TLS: server, Submission: strings.Contains(name, "fixation")}, &recorder{anyone: true})
			c := dial(t, s.addr)
			within := false // of a reply of several lines
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSuffix(line, "\n")
				if line == "C: AUTH LOGIN" {
					// James lets a session authenticate in the clear and then refuses
					// STARTTLS. Here there is no such session.
					c.say("AUTH LOGIN", "538 5.7.11")
					return
				}
				if said, ok := strings.CutPrefix(line, "S: "); ok {
					if !within {
						c.want(said[:3])
					}
					within = said[3] == '-' || said[3] == '.'
				} else if out, ok := strings.CutPrefix(line, "C:"); ok {
					c.send(strings.TrimPrefix(out, " ") + "\r\n")
				}
			}
		})
	}
}
