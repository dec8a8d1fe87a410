package cause

import "testing"

func TestEveryCauseHasAWordOfItsOwn(t *testing.T) {
	if got := OperatorAction.String(); got != "operator-action" {
		t.Errorf("the last cause is called %q: a word is missing or too many", got)
	}
	if int(OperatorAction)+1 != len(Words()) {
		t.Errorf("%d words for %d causes", len(Words()), int(OperatorAction)+1)
	}
	for c, want := range map[Cause]string{
		None: "none", NoRoute: "no-route", PeerProtocol: "peer-protocol", PeerShutdown: "peer-shutdown",
		TooLargeForPeer: "too-large-for-peer", OperatorAction + 1: "cause-43",
	} {
		if c.String() != want {
			t.Errorf("%d is called %q, want %q", uint8(c), c, want)
		}
	}
	seen := map[string]bool{}
	for _, w := range Words() {
		if seen[w] {
			t.Errorf("%q is twice", w)
		}
		seen[w] = true
	}
}
