package queue

import (
	"sync"

	"github.com/postern-mail/postern/internal/envelope"
)

// claims counts the lanes that work on one message: a message with two next
// hops may be attempted at both at once, under one claim of the store. Its
// mutex is taken before the store's own and never with Queue.mu.
type claims struct {
	mu   sync.Mutex
	held map[envelope.ID]int
}

func (c *claims) take(s Store, id envelope.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.held[id]; n > 0 {
		c.held[id] = n + 1
		return true
	}
	if !s.Claim(id) {
		return false
	}
	c.held[id] = 1
	return true
}

func (c *claims) give(s Store, id envelope.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.held[id]; n > 1 {
		c.held[id] = n - 1
		return
	}
	delete(c.held, id)
	s.Unclaim(id)
}
