package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/internal/durable"
)

// Bounds of the inbox, chosen: enough to look at, too little to fill a disk.
// What is over a bound is removed, oldest first.
const (
	maxMessages = 2000
	maxOctets   = 256 << 20
)

// Message is one message in the inbox.
type Message struct {
	Number  int // rises with each message, from 1
	Time    time.Time
	Reverse string // "" is the null reverse-path
	Forward []string
	From    string // header field, not decoded
	Subject string // header field, not decoded
	ID      string // Postern's ID, from the newest Received field
	TLS     string // "" is plain text
	Size    int64  // octets, with the fields added at delivery
}

// Inbox keeps messages as files in one directory and a list of them in
// memory. It is safe for concurrent use.
type Inbox struct {
	fs  durable.FS
	dir string

	mu     sync.Mutex
	next   int
	octets int64
	list   []Message // oldest first
}

// OpenInbox reads what a directory holds, and makes the directory when it is
// missing. Files that were being written when the process died are removed.
func OpenInbox(fsys durable.FS, dir string) (*Inbox, error) {
	if err := makeDirectory(fsys, dir); err != nil {
		return nil, err
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	box := &Inbox{fs: fsys, dir: dir, next: 1}
	for _, entry := range entries {
		if err := box.adopt(entry.Name()); err != nil {
			return nil, err
		}
	}
	return box, box.shrink()
}

// adopt takes a file found at start into the list.
func (b *Inbox) adopt(name string) error {
	full := path.Join(b.dir, name)
	if strings.HasPrefix(name, "incoming-") {
		return b.fs.Remove(full)
	}
	number, err := strconv.Atoi(strings.TrimSuffix(name, ".eml"))
	if err != nil || number < 1 || !strings.HasSuffix(name, ".eml") {
		return nil // not ours: left alone
	}
	file, err := b.fs.Open(full)
	if err != nil {
		return fmt.Errorf("open %s: %w", full, err)
	}
	size, err := file.Size()
	if err != nil {
		return errors.Join(fmt.Errorf("size of %s: %w", full, err), file.Close())
	}
	head := make([]byte, min(size, maxHead))
	if _, err := file.ReadAt(head, 0); err != nil {
		return errors.Join(fmt.Errorf("read %s: %w", full, err), file.Close())
	}
	message := describe(head)
	message.Number, message.Size = number, size
	b.list = append(b.list, message)
	b.octets += size
	b.next = max(b.next, number+1)
	return file.Close()
}

// Messages returns a copy of the list, oldest first.
func (b *Inbox) Messages() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// Read returns the content of message number, fs.ErrNotExist when there is
// none.
func (b *Inbox) Read(number int) ([]byte, error) {
	file, err := b.fs.Open(b.name(number))
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	content := make([]byte, size)
	_, err = file.ReadAt(content, 0)
	return content, errors.Join(err, file.Close())
}

func (b *Inbox) name(number int) string {
	return path.Join(b.dir, fmt.Sprintf("%08d.eml", number))
}

// incoming is a message that is being written.
type incoming struct {
	box  *Inbox
	file durable.File
	name string
	num  int
	size int64
	head []byte
}

// begin starts a message; number is drawn now.
func (b *Inbox) begin() (*incoming, error) {
	b.mu.Lock()
	number := b.next
	b.next++
	b.mu.Unlock()
	name := path.Join(b.dir, fmt.Sprintf("incoming-%08d", number))
	file, err := b.fs.Create(name)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return &incoming{box: b, file: file, name: name, num: number}, nil
}

// Write appends to the message.
func (m *incoming) Write(p []byte) (int, error) {
	if room := maxHead - len(m.head); room > 0 {
		m.head = append(m.head, p[:min(room, len(p))]...)
	}
	n, err := m.file.WriteAt(p, m.size)
	m.size += int64(n)
	return n, err
}

// keep makes the message durable and puts it on the list.
func (m *incoming) keep() error {
	err := m.file.Sync()
	if err := errors.Join(err, m.file.Close()); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", m.name, err), m.box.fs.Remove(m.name))
	}
	final := m.box.name(m.num)
	if err := m.box.fs.Rename(m.name, final); err != nil {
		return fmt.Errorf("rename %s: %w", m.name, err)
	}
	if err := m.box.fs.SyncDir(m.box.dir); err != nil {
		return fmt.Errorf("sync %s: %w", m.box.dir, err)
	}
	message := describe(m.head)
	message.Number, message.Size = m.num, m.size
	return m.box.add(message)
}

// drop forgets the message.
func (m *incoming) drop() error {
	return errors.Join(m.file.Close(), m.box.fs.Remove(m.name))
}

func (b *Inbox) add(message Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, message)
	b.octets += message.Size
	return b.shrink()
}

// shrink removes the oldest messages until the bounds hold. Called with the
// lock held, or before anyone else has b.
func (b *Inbox) shrink() error {
	for len(b.list) > maxMessages || b.octets > maxOctets && len(b.list) > 1 {
		oldest := b.list[0]
		name := b.name(oldest.Number)
		if err := b.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		b.octets -= oldest.Size
		b.list = b.list[1:]
	}
	return nil
}
