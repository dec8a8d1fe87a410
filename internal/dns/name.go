package dns

import (
	"strings"

	"github.com/miekg/dns"
)

// normalName returns name in lower case without its final dot, and whether it
// can be asked for at all: 1 to 253 ASCII octets in labels of 1 to 63.
func normalName(name string) (string, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" || len(name) > 253 {
		return name, false
	}
	label := 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return name, false
			}
			label = 0
			continue
		case c <= ' ' || c >= 0x7f || c == '\\' || c == '"':
			return name, false
		}
		if label++; label > 63 {
			return name, false
		}
	}
	return name, label > 0
}

// hostOf turns a name of an answer into our form.
func hostOf(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// refuseName is the answer to a text that can't be a name.
func refuseName(name string, qtype uint16) *Error {
	return &Error{Name: name, Type: dns.TypeToString[qtype], Kind: NoSuchName, Err: ErrNotAName}
}
