// Package dsn makes delivery status notifications: the reports that tell a
// sender what became of a message (RFC 3464), in multipart/report (RFC 6522),
// with internationalized addresses (RFC 6533) and the fields that a sender
// asked for (RFC 3461).
//
// # Promises
//
//   - What Build returns is a message of CRLF lines of at most 998 octets,
//     with a From of this node, Auto-Submitted: auto-replied, and three parts:
//     one for people, one for programs, and the original or its header.
//   - Octets of a peer or of the original can't end a part, add a header field
//     or carry a control character into one.
//   - Without UTF8 the report is 7-bit but for an original that is returned
//     in full and is 8-bit itself.
//   - The size is bounded: FullMax for an original in full, HeaderMax for its
//     header, WordsMax for each peer's words, and the bounds on recipients.
//
// # Never
//
// It never decides who may get a report (package bounce does), never sends,
// and never repeats our own error texts: they may name what is inside.
//
// # Parts
//
//	report               second part                       third part
//	ASCII addresses      message/delivery-status           text/rfc822-headers or message/rfc822
//	other, UTF8 set      message/global-delivery-status    message/global-headers or message/global, when the header needs it
//	other, UTF8 not set  message/delivery-status with      text/rfc822-headers, quoted-printable when it is not ASCII
//	                     utf-8-addr-xtext
//
// # Failures
//
//	returned  no recipients, a null reverse-path, an original that can't be read
package dsn
