package gateway

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/postern-mail/postern/internal/durable"
)

// lockName is the file in the data directory that one node holds locked.
const lockName = "node.lock"

// claimDirectory makes the data directory if need be, closes it to others, and
// locks it, so that two nodes never share one. Close of what it returns gives
// the lock back. It sets the process's umask to 077 (docs/HOUSE.md "What a
// node needs").
func claimDirectory(fsys durable.FS, dir string) (io.Closer, error) {
	syscall.Umask(0o077)
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make the data directory %s: %w", dir, err)
	}
	if err := closeToOthers(dir); err != nil {
		return nil, err
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockName))
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("data directory %s: %w: a node runs there already", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data directory %s: %w", dir, err)
	}
	return lock, nil
}

// closeToOthers takes group's and others' rights from a directory that was
// made with a wider umask.
func closeToOthers(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("data directory %s is open to others: %w", dir, err)
	}
	return nil
}
