package edge

import (
	"errors"
	"syscall"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/tenant"
)

// replyFor turns trouble of ours into what the client hears. It is the only
// place that decides so, and it knows no 5yz: the mail is fine, we are not, and
// the client is to try again. When in doubt: 451.
func replyFor(err error) smtp.Reply {
	switch {
	case errors.Is(err, spool.ErrNoRoom), errors.Is(err, spool.ErrMemory),
		errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return smtp.NoStorage()
	case errors.Is(err, tenant.ErrBusy):
		return smtp.AuthUnavailable()
	}
	return smtp.LocalError()
}
