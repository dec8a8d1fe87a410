package smtpclient

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/internal/smtp"
)

func TestExtensionsAreReadWhateverTheirCase(t *testing.T) {
	for _, tc := range []struct {
		lines []string
		want  Extensions
	}{
		{nil, Extensions{ESMTP: true}},
		{
			[]string{"peer", "pipelining", "Size 1000", "8bitMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "STARTTLS", "ENHANCEDSTATUSCODES", "REQUIRETLS"},
			Extensions{
				ESMTP: true, Pipelining: true, Size: true, MaxSize: 1000, EightBitMIME: true, SMTPUTF8: true, DSN: true,
				Chunking: true, BinaryMIME: true, StartTLS: true, EnhancedStatusCodes: true, RequireTLS: true,
			},
		},
		{[]string{"peer PIPELINING", "SIZE", "X-ODD  thing"}, Extensions{ESMTP: true, Size: true}},
		{[]string{"peer", "SIZE 0"}, Extensions{ESMTP: true, Size: true}},
		{[]string{"peer", "SIZE many"}, Extensions{ESMTP: true, Size: true}},
		{[]string{"peer", "LIMITS MAILMAX=10 rcptmax=20 RCPTDOMAINMAX=1"}, Extensions{ESMTP: true, MailMax: 10, RcptMax: 20}},
		{[]string{"peer", "LIMITS MAILMAX=0 RCPTMAX=-1"}, Extensions{ESMTP: true}},
		{
			[]string{"peer", "AUTH plain LOGIN", "AUTH=LOGIN CRAM-MD5", "XCLIENT NAME addr"},
			Extensions{ESMTP: true, Auth: []string{"PLAIN", "LOGIN", "LOGIN", "CRAM-MD5"}, XClient: []string{"NAME", "ADDR"}},
		},
	} {
		got := ParseExtensions(smtp.Reply{Code: 250, Text: tc.lines})
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%q: %s", tc.lines, d)
		}
	}
}
