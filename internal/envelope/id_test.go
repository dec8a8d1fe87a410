package envelope

import "testing"

func TestAPrintedIDReadsBack(t *testing.T) {
	inc := Incarnation{1, 2, 3, 4, 5, 6, 7, 8, 9, 255}
	for _, seq := range []uint64{0, 1, 255, 1 << 20, 1<<48 - 1} {
		id := NewID(inc, seq)
		got, err := ParseID(id.String())
		if err != nil || got != id {
			t.Fatalf("ParseID(%q) = %v, %v; want %v", id.String(), got, err, id)
		}
		if id.Sequence() != seq || id.Incarnation() != inc {
			t.Fatalf("id %v has sequence %d, incarnation %v", id, id.Sequence(), id.Incarnation())
		}
	}
	back, err := ParseIncarnation(inc.String())
	if err != nil || back != inc {
		t.Fatalf("ParseIncarnation(%q) = %v, %v", inc.String(), back, err)
	}
}

func TestWhatIsNotAnIDIsRefused(t *testing.T) {
	for _, s := range []string{"", "0", "0000000000000000000000000I", "00000000000000000000000001", "000000000000000000000000000"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v, want an error", s, id)
		}
	}
}
