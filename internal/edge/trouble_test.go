package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/tenant"
)

func TestEveryTroubleOfOursIsTemporary(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{spool.ErrNoRoom, "452 4.3.1"},
		{spool.ErrMemory, "452 4.3.1"},
		{fmt.Errorf("write: %w", syscall.ENOSPC), "452 4.3.1"},
		{spool.ErrIO, "451 4.3.0"},
		{spool.ErrUnknown, "451 4.3.0"},
		{spool.ErrClosed, "451 4.3.0"},
		{spool.ErrInvalid, "451 4.3.0"},
		{context.DeadlineExceeded, "451 4.3.0"},
		{errors.New("anything"), "451 4.3.0"},
		{tenant.ErrBusy, "454 4.7.0"},
	} {
		if got := replyFor(c.err); !strings.HasPrefix(got.String(), c.want) || !got.Temporary() {
			t.Errorf("%v: %s; want %s", c.err, got, c.want)
		}
	}
}

func TestADiskThatFailsIsNeverAnAcknowledgement(t *testing.T) {
	for _, c := range []struct {
		errno error
		op    faultfs.Op
		want  string
	}{
		{syscall.EIO, faultfs.Sync, "451 4.3.0"},
		{syscall.EIO, faultfs.Write, "451 4.3.0"},
		{syscall.ENOSPC, faultfs.Write, "452 4.3.1"},
	} {
		var broken atomic.Bool
		disk := faultfs.Failing(faultfs.NewMem(), func(op faultfs.Op, _ string, _ int) error {
			if broken.Load() && op == c.op {
				return c.errno
			}
			return nil
		})
		w := newWorld(t, nil, disk)
		s := w.connect(connection("192.0.2.77:1", false))
		broken.Store(true)
		if r := w.send(s, "x@sender.test", plainContent, "bob@one.test"); !strings.HasPrefix(r.String(), c.want) {
			t.Errorf("%v at %v: %s; want %s", c.errno, c.op, r, c.want)
		}
		if len(w.queue.envs) != 0 || !strings.Contains(w.log.String(), "msg=deferred") {
			t.Errorf("%v at %v: the queue heard of %d; log:\n%s", c.errno, c.op, len(w.queue.envs), w.log)
		}
		s.Close()
		broken.Store(false)
	}
}

func TestContentBeyondTheMemoryBoundHears452AndGivesItsOctetsBack(t *testing.T) {
	w := newWorld(t, nil, nil)
	ctx := context.Background()
	var held []interface{ Abort() }
	var reply smtp.Reply
	s := w.connect(connection("192.0.2.77:1", false))
	defer s.Close()
	for range 200 { // the bound of the test's spool is 1 MiB
		s.Mail(ctx, smtp.Path{}, smtp.MailParams{})
		s.Rcpt(ctx, path(t, "bob@one.test"), smtp.RcptParams{})
		c, r := s.Content(ctx)
		if !r.IsZero() {
			reply = r
			break
		}
		held = append(held, c)
	}
	if !strings.HasPrefix(reply.String(), "452 4.3.1") {
		t.Fatalf("after %d drafts: %s", len(held), reply)
	}
	for _, c := range held {
		c.Abort()
	}
	if r := w.send(s, "x@sender.test", plainContent, "bob@one.test"); r.Code != 250 {
		t.Errorf("afterwards: %s", r)
	}
}
