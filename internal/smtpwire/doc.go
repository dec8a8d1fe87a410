// Package smtpwire is the codec that both halves of SMTP share: lines, the
// content of DATA with its dots, the chunks of BDAT, and replies. One Reader
// owns the octets of a connection, and it alone decides where a line ends.
//
// What it promises:
//
//   - A line ends with CRLF and nothing else (RFC 5321 section 2.3.8). CR
//     without LF and LF without CR are errors, in commands and in content; or,
//     with Normalise, they become CRLF inside content and never end it.
//   - Content that came with DATA ends at <CRLF>.<CRLF> and nowhere else
//     (RFC 5321 section 4.1.1.4).
//   - What a Decoder gives out is complete lines that end with CRLF, without
//     NUL: it can be sent on with DATA or BDAT and means the same there.
//   - What an Encoder gives out holds no bare CR or LF and no line that a
//     receiver could take for the end, whatever went in.
//   - After an error nothing more comes from a Decoder. The caller closes the
//     connection: what follows may be content or commands, and nobody knows.
//
// What it never does: set a deadline, write a reply, count messages or hold
// more than one buffer of a connection (2 KiB for commands, 32 KiB while
// content flows).
//
// # Why NUL is refused in content
//
// RFC 5321 section 4.5.2 names all 128 ASCII codes, but RFC 2045 sections 2.7
// and 2.8 keep NUL out of 7bit and 8bit content, so nothing that we can relay
// may hold it; and some servers drop NUL while they read, so that <CRLF> NUL
// . <CRLF> ends the content for them and not for us. Refused, no two of us can
// differ.
//
// # States of a Decoder
//
//	state                   next octets         becomes
//	line start              "." CRLF            end of content (DATA only)
//	line start              "."                 in line, the dot is dropped (DATA only)
//	line start, in line     CRLF                line start
//	line start, in line     LF, CR              ErrBareLF, ErrBareCR; Normalise: CRLF is given out, in line
//	line start, in line     NUL                 ErrNUL
//	in line                 more than MaxLine   ErrLineTooLong
//	any                     end of input        io.ErrUnexpectedEOF
//
// Note that after a normalised newline the state is "in line": a dot there is
// no transparency dot and no end, because the sender did not write a CRLF.
//
// # Failures
//
// Errors of the source come back as they are (io.EOF inside a line or content
// as io.ErrUnexpectedEOF); nothing is logged here and nothing is fatal.
package smtpwire
