package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SocketName and lockName are files in the data directory.
const (
	SocketName = "control.sock"
	lockName   = "control.lock"
)

// maxSunPath is the longest path that sockaddr_un takes with its final NUL.
const maxSunPath = 107

// knockTimeout bounds the question whether someone answers. Chosen: connect
// on a Unix socket does not wait but for a full backlog.
const knockTimeout = 2 * time.Second

// ErrRunning is returned by Listen when a node already answers on the directory.
var ErrRunning = errors.New("a node already runs here")

// reach returns a path for the socket that the kernel takes, and a function
// that gives up what it needs. A long one goes through the file descriptor of
// the directory: /proc/self/fd/N/control.sock. (A temporary symbolic link
// would leave litter after a crash, and chdir would move the whole process.)
func reach(dir string) (path string, done func(), err error) {
	path = filepath.Join(dir, SocketName)
	if len(path) <= maxSunPath {
		return path, func() {}, nil
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, SocketName), func() { _ = unix.Close(fd) }, nil
}

// socket is a bound control socket and the lock that keeps others away.
type socket struct {
	listener *net.UnixListener
	lock     *os.File
	path     string // as people write it
	inode    uint64
}

// bind makes the socket in dir, mode 0600, replacing one on which nobody
// answers.
func bind(ctx context.Context, dir string) (*socket, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &socket{lock: lock, path: filepath.Join(dir, SocketName)}
	if err := s.listen(ctx, dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockName)
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is locked", ErrRunning, name)
		}
		return nil, fmt.Errorf("control socket: lock %s: %w", name, err)
	}
	return lock, nil
}

func (s *socket) listen(ctx context.Context, dir string) error {
	path, done, err := reach(dir)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	defer done()
	if err := clearStale(ctx, path, s.path); err != nil {
		return err
	}
	config := net.ListenConfig{Control: modeBeforeBind}
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("control socket %s: %w", s.path, err)
	}
	s.listener = listener.(*net.UnixListener)
	s.listener.SetUnlinkOnClose(false) // by path; close does it, if it is still ours
	if s.inode, err = inodeOf(s.path); err != nil {
		return errors.Join(fmt.Errorf("control socket: %w", err), s.listener.Close())
	}
	return nil
}

// modeBeforeBind gives the socket its mode before it has a name: bind(2) takes
// the mode of the socket's own inode, less the umask.
func modeBeforeBind(_, _ string, raw syscall.RawConn) error {
	var chmod error
	if err := raw.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), 0o600) }); err != nil {
		return err
	}
	return chmod
}

// clearStale removes a socket that nobody answers on. path is for the kernel,
// shown for people.
func clearStale(ctx context.Context, path, shown string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("control socket: %s exists and is no socket; move it away", shown)
	}
	dialer := net.Dialer{Timeout: knockTimeout}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("%w: someone answers on %s", ErrRunning, shown), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("control socket: who is on %s is not known: %w", shown, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control socket: remove the one left behind: %w", err)
	}
	return nil
}

// close removes the socket, if its name is still ours, and gives the lock back.
func (s *socket) close() error {
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if inode, statErr := inodeOf(s.path); statErr == nil && inode == s.inode {
		err = errors.Join(err, os.Remove(s.path))
	}
	return errors.Join(err, s.lock.Close())
}

func inodeOf(path string) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return stat.Ino, nil
}
