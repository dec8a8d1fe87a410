package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrNoNode is returned by Dial when no node answers on the directory. Its
// words are for people as they are.
var ErrNoNode = errors.New("no node runs on")

// maxReply bounds one plain reply and one line of a stream, in octets. Chosen:
// a demo message with its content is the largest thing said.
const maxReply = 128 << 20

// dialTimeout bounds connecting and the hello.
const dialTimeout = 5 * time.Second

// Client is the command line's end of the socket. It is safe for concurrent use.
type Client struct {
	dir   string
	http  *http.Client
	hello Hello
}

// Dial connects to the node that runs on the data directory dir and asks who
// it is. The caller calls Close.
func Dial(ctx context.Context, dir string) (*Client, error) {
	if err := look(dir); err != nil {
		return nil, err
	}
	c := &Client{dir: dir}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.connect, MaxIdleConnsPerHost: 2, IdleConnTimeout: idleTimeout}}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	hello, err := Ask[Hello](ctx, c, CallHello, None{})
	if err != nil {
		c.Close()
		return nil, c.explain(err)
	}
	if hello.Protocol != Protocol {
		c.Close()
		return nil, fmt.Errorf("the node on %s is postern %s and speaks control protocol %d, this command speaks %d: use the same build",
			dir, hello.Version, hello.Protocol, Protocol)
	}
	c.hello = hello
	return c, nil
}

// Hello returns what the node said about itself.
func (c *Client) Hello() Hello { return c.hello }

// Close gives up the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	path, done, err := reach(c.dir)
	if err != nil {
		return nil, err
	}
	defer done()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", path)
}

// look says what is missing before anything is tried.
func look(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w %s (no such directory); start it with: postern serve, or name its directory with --data", ErrNoNode, dir)
	case err != nil:
		return fmt.Errorf("data directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is no directory; --data names the node's data directory", dir)
	}
	_, err = os.Stat(filepath.Join(dir, SocketName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w %s (no socket there); start it with: postern serve", ErrNoNode, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("data directory %s is closed to you: run this as the node's user or as root", dir)
	}
	return nil
}

// explain gives an error of the first contact its words.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w %s (a socket is there, but nobody answers: the node was killed); start it with: postern serve", ErrNoNode, c.dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the socket in %s is closed to you: run this as the node's user or as root", c.dir)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("the node on %s hung up: it answers its own user and root only, or it is stopping: %w", c.dir, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the node on %s did not answer within %s: it hangs or is stopped (SIGSTOP)", c.dir, dialTimeout)
	}
	return fmt.Errorf("ask the node on %s: %w", c.dir, err)
}

// post makes a call. The caller closes the body.
func (c *Client) post(ctx context.Context, call string, req any) (*http.Response, error) {
	octets, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/v1/"+call, bytes.NewReader(octets))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var f frame
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(&f); err != nil || f.Error == nil {
		return nil, fmt.Errorf("%s: the node answered %s", call, resp.Status)
	}
	return nil, f.Error
}

// Ask makes a call with one reply.
func Ask[Resp any](ctx context.Context, c *Client, call string, req any) (Resp, error) {
	var reply Resp
	resp, err := c.post(ctx, call, req)
	if err != nil {
		return reply, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&reply); err != nil {
		return reply, fmt.Errorf("%s: the node's reply can't be read: %w", call, err)
	}
	return reply, nil
}

// Stream makes a call with many items and hands each to yield, whose error
// ends it.
func Stream[Item any](ctx context.Context, c *Client, call string, req any, yield func(Item) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.post(ctx, call, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxReply)
	items := 0
	for lines.Scan() {
		var line struct {
			Item  *Item  `json:"item"`
			End   *end   `json:"end"`
			Error *Error `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%s: the node's reply can't be read: %w", call, err)
		}
		switch {
		case line.Error != nil:
			return line.Error
		case line.End != nil && line.End.Items == items:
			return nil
		case line.Item != nil:
			items++
			if err := yield(*line.Item); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: the node's reply makes no sense after %d items", call, items)
		}
	}
	return fmt.Errorf("%s: the node's reply was cut after %d items: %w", call, items, errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}
