package oracle

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// Explain is how long before a kill a copy may have been taken by the sink for
// the kill to explain a second copy: between the next hop's 250 and the record
// of it lies no more. Chosen: 1 s on a shared machine.
const Explain = time.Second

// Kill is a stop without warning. A copy that a sink took between Since and At
// may have gone unrecorded, which explains a second one after At.
type Kill struct{ Since, At time.Time }

// KilledAt is a kill on a disk that took every record, so that at most Explain
// before it is in doubt.
func KilledAt(at time.Time) Kill { return Kill{Since: at.Add(-Explain), At: at} }

// Verdict is what a comparison of sent and arrived says.
type Verdict struct {
	Sent, Acked, Refused, Doubt int // messages
	Recipients                  int // of acknowledged messages
	Delivered, Bounced          int // recipients that arrived, or that a DSN named
	DoubtArrived                int // recipients of messages in doubt that arrived

	Lost           []string      // acknowledged, neither arrived nor named by a DSN
	Damaged        []string      // arrived with other octets than were sent
	Strangers      []string      // arrived, never sent
	RefusedArrived []string      // answered 4xx or 5xx, and arrived nevertheless
	Duplicates     int           // copies beyond the first
	Window         time.Duration // longest time from the first copy's 250 to the kill that explains a second
	Unexplained    []string      // duplicates that no kill explains
	Reports        int           // different DSNs that arrived
	ReportedTwice  []string      // recipients that more than one DSN named
}

// DuplicateShare is duplicates by recipients that arrived, in percent.
func (v *Verdict) DuplicateShare() float64 {
	if v.Delivered == 0 {
		return 0
	}
	return 100 * float64(v.Duplicates) / float64(v.Delivered)
}

func (v *Verdict) String() string {
	return fmt.Sprintf("%d sent (%d acknowledged, %d refused, %d in doubt), %d recipients delivered, %d bounced, %d lost, %d duplicates",
		v.Sent, v.Acked, v.Refused, v.Doubt, v.Delivered, v.Bounced, len(v.Lost), v.Duplicates)
}

// Judge compares what was sent with what arrived. Only kills explain a
// second copy.
func Judge(sent []Sent, arrived []Arrival, kills []Kill) *Verdict {
	v := &Verdict{Sent: len(sent)}
	byID := map[string]*Sent{}
	for i := range sent {
		byID[sent[i].ID] = &sent[i]
	}
	copies := map[string][]Arrival{} // ID and recipient
	bounced := map[string]bool{}     // recipient
	reports := map[string][]Arrival{}
	for _, a := range arrived {
		if a.ReversePath == "" && len(a.Failed) > 0 { // a DSN: judged by whom it names
			if reports[a.MessageID] == nil {
				v.report(a, bounced)
			}
			reports[a.MessageID] = append(reports[a.MessageID], a)
			continue
		}
		if s := byID[a.ID]; s == nil || !contains(s.Recipients, a.Recipient) {
			v.Strangers = append(v.Strangers, fmt.Sprintf("%q to %s", a.ID, a.Recipient))
			continue
		}
		if !a.Intact {
			v.Damaged = append(v.Damaged, a.ID)
		}
		key := a.ID + " " + strings.ToLower(a.Recipient)
		copies[key] = append(copies[key], a)
	}
	for i := range sent {
		v.judgeOne(&sent[i], copies, bounced, kills)
	}
	for _, same := range reports {
		v.duplicates(same, kills)
	}
	return v
}

// report notes whom a DSN names that was not seen before.
func (v *Verdict) report(a Arrival, bounced map[string]bool) {
	v.Reports++
	for _, f := range a.Failed {
		f = strings.ToLower(f)
		if bounced[f] {
			v.ReportedTwice = append(v.ReportedTwice, f)
		}
		bounced[f] = true
	}
}

func (v *Verdict) judgeOne(s *Sent, copies map[string][]Arrival, bounced map[string]bool, kills []Kill) {
	switch s.Outcome {
	case Acked:
		v.Acked++
		v.Recipients += len(s.Recipients)
	case Refused:
		v.Refused++
	case Doubt:
		v.Doubt++
	}
	for _, to := range s.Recipients {
		got := copies[s.ID+" "+strings.ToLower(to)]
		switch {
		case len(got) > 0:
			v.Delivered++
			if s.Outcome == Refused {
				v.RefusedArrived = append(v.RefusedArrived, s.ID+" to "+to+": "+s.Reply.Text)
			}
			if s.Outcome == Doubt {
				v.DoubtArrived++
			}
		case bounced[strings.ToLower(to)]:
			v.Bounced++
		case s.Outcome == Acked:
			v.Lost = append(v.Lost, fmt.Sprintf("%s to %s, acknowledged %s: %s", s.ID, to, s.At.Format("15:04:05.000"), s.Reply.Text))
		}
		v.duplicates(got, kills)
	}
}

func (v *Verdict) duplicates(got []Arrival, kills []Kill) {
	sort.Slice(got, func(i, j int) bool { return got[i].At.Before(got[j].At) })
	for i := 1; i < len(got); i++ {
		v.Duplicates++
		if k, ok := explained(got[i-1], got[i], kills); ok {
			v.Window = max(v.Window, k.At.Sub(got[i-1].At)) // below zero: read after the kill
		} else {
			v.Unexplained = append(v.Unexplained, fmt.Sprintf("%s to %s: taken %s and again %s", got[i].ID, got[i].Recipient,
				got[i-1].At.Format("15:04:05.000"), got[i].At.Format("15:04:05.000")))
		}
	}
}

// explained returns the kill that lies before the second copy and between Since
// and Explain after it has the first: what the node wrote into a connection
// before its end, the sink may read later, and even after the second copy began.
func explained(first, second Arrival, kills []Kill) (Kill, bool) {
	for _, k := range kills {
		if k.Since.Before(first.At) && k.At.Before(second.At) && first.Begun.Sub(k.At) < Explain {
			return k, true
		}
	}
	return Kill{}, false
}

func contains(all []string, one string) bool {
	for _, a := range all {
		if strings.EqualFold(a, one) {
			return true
		}
	}
	return false
}
