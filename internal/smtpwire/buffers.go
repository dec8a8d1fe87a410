package smtpwire

import "sync"

// Sizes of the buffers of a Reader, in octets. CommandBuffer is also the
// longest line that ReadLine can give out: 2,048 holds the 512 octets of RFC
// 5321 section 4.5.3.1.4 with what SIZE, DSN, AUTH and SMTPUTF8 add for MAIL
// and RCPT. ContentBuffer is chosen: larger ones did not measure faster.
const (
	CommandBuffer = 2 << 10
	ContentBuffer = 32 << 10
)

// Buffers holds the buffers that the readers of one server or client share.
// It is safe for concurrent use. The zero value is ready.
type Buffers struct {
	command sync.Pool // *[CommandBuffer]byte
	content sync.Pool // *[ContentBuffer]byte
}

func (b *Buffers) takeCommand() *[CommandBuffer]byte {
	if p, ok := b.command.Get().(*[CommandBuffer]byte); ok {
		return p
	}
	return new([CommandBuffer]byte)
}

// TakeContent lends a buffer of ContentBuffer octets until GiveContent.
func (b *Buffers) TakeContent() *[ContentBuffer]byte {
	if p, ok := b.content.Get().(*[ContentBuffer]byte); ok {
		return p
	}
	return new([ContentBuffer]byte)
}

// GiveContent takes back a buffer that TakeContent lent.
func (b *Buffers) GiveContent(p *[ContentBuffer]byte) { b.content.Put(p) }
