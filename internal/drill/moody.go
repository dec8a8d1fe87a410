package drill

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

// The first label of a recipient's local part says how its next hop treats it.
const (
	deferOnce  = "defer"  // 451 at the first attempt
	deferLong  = "later"  // 451 at the first six, so that it lives through some segments
	rejectEver = "reject" // 550: a DSN is due
)

// moody is a next hop that answers RCPT by the recipient's name.
func moody(recipient string, attempt int) string {
	word, _, _ := strings.Cut(recipient, ".")
	switch {
	case word == deferOnce && attempt == 1, word == deferLong && attempt <= 6:
		return "451 4.3.0 not now"
	case word == rejectEver:
		return "550 5.1.1 no such person here"
	}
	return ""
}

// moody makes messages of which some are deferred, some refused, and every
// twentieth is longer than what stays in the log.
func (w *world) moody() func(int, *rand.Rand) (*oracle.Message, oracle.Style) {
	plain := w.mixed(20)
	return func(n int, rng *rand.Rand) (*oracle.Message, oracle.Style) {
		m, style := plain(n, rng)
		word := ""
		switch n % 10 {
		case 3:
			word = deferOnce
		case 5:
			word = rejectEver
		case 7:
			word = deferLong
		}
		if word != "" {
			m = oracle.Compose(m.ID, sender, []string{fmt.Sprintf("%s.%s.0@%s", word, m.ID, goodDomain)}, len(m.Content), rng)
		}
		return m, style
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
