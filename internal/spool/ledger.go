package spool

import (
	"encoding/binary"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// Ledger returns the count of recipients per tenant. It always balances for a
// spool without defects: every change of the index moves one recipient from
// one place of the ledger to another under one lock.
func (s *Spool) Ledger() Ledger {
	s.idx.mu.RLock()
	defer s.idx.mu.RUnlock()
	return Ledger{Since: s.since, Gap: s.gap, Tenants: s.idx.tenantLedgers()}
}

func (x *index) tenantLedgers() map[string]*TenantLedger {
	m := make(map[string]*TenantLedger, len(x.ledger))
	for i := range x.ledger {
		l := x.ledger[i]
		m[x.tenants.name(uint32(i))] = &l
	}
	return m
}

// appendLedger appends the sums that outlive messages: not Live and Held,
// which the entries give.
func (x *index) appendLedger(b []byte) []byte {
	return appendLedger(b, x.tenantLedgers())
}

func appendLedger(b []byte, tenants map[string]*TenantLedger) []byte {
	b = binary.AppendUvarint(b, uint64(len(tenants)))
	for name, l := range tenants {
		b = appendStr(b, name)
		for _, n := range l.Sources {
			b = binary.AppendUvarint(b, uint64(n))
		}
		for _, n := range l.Terminal[envelope.Delivered:] {
			b = binary.AppendUvarint(b, uint64(n))
		}
		b = binary.AppendUvarint(b, uint64(l.Lost))
	}
	return b
}

func (r *reader) ledger() map[string]*TenantLedger {
	n := r.count()
	m := make(map[string]*TenantLedger, n)
	for range n {
		name := r.str()
		l := &TenantLedger{}
		for i := range l.Sources {
			l.Sources[i] = int64(r.uvarint())
		}
		for i := int(envelope.Delivered); i < len(l.Terminal); i++ {
			l.Terminal[i] = int64(r.uvarint())
		}
		l.Lost = int64(r.uvarint())
		m[name] = l
	}
	return m
}

func (x *index) readLedger(r *reader) error {
	m := r.ledger()
	if r.bad {
		return errBody
	}
	x.addLedger(m)
	return nil
}

func (x *index) addLedger(m map[string]*TenantLedger) {
	for name, l := range m {
		i := x.tenant(name)
		x.ledger[i].add(l)
	}
}

// ledgerGap is what a full scan without a checkpoint can say of the ledger: it
// counts what the log still holds, from the oldest message there on.
func (l *loader) ledgerGap(now time.Time) (gap bool, since time.Time) {
	if len(l.numbers) == 0 {
		return false, now
	}
	if l.numbers[0] == 1 && len(l.checkpoints) == 0 {
		return false, l.firstTime(now) // nothing was ever freed: the sums are whole
	}
	oldest := now
	for i := range l.idx.stripes {
		for _, e := range l.idx.stripes[i].m {
			if t := fromNanos(e.arrival); t.Before(oldest) {
				oldest = t
			}
		}
	}
	l.find(Finding{
		Kind: LedgerGap, Recipient: -1, Time: oldest,
		Detail: "no checkpoint could be read: the ledger counts only what the log still holds",
	})
	return true, oldest
}

// adoption is the note that says that another incarnation was taken over, with
// the ledger of what had ended there.
type adoption struct {
	incarnation envelope.Incarnation
	ledger      map[string]*TenantLedger
}

func appendAdoption(b []byte, a *adoption) []byte {
	b = append(b, noteAdopted)
	b = append(b, a.incarnation[:]...)
	return appendLedger(b, a.ledger)
}

// adoption reads the note behind its kind.
func (r *reader) adoption() adoption {
	return adoption{incarnation: r.incarnation(), ledger: r.ledger()}
}

func (x *index) adopt(a *adoption) { x.addLedger(a.ledger) }
