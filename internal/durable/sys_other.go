//go:build darwin || freebsd

package durable

import "golang.org/x/sys/unix"

// Postern is run on Linux. Here it builds and keeps its promises with what
// there is: a full sync, and zero octets instead of fallocate.

// syncData is the standard library's Sync, which flushes the drive's cache on
// macOS too, where fsync(2) does not.
func (f *osFile) syncData() error { return f.File.Sync() }

func fallocate(int, int64) error { return unix.ENOSYS }

func punch(int, int64, int64) error { return unix.ENOSYS }

func statSpace(name string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return Space{}, err
	}
	unit := int64(st.Bsize)
	return Space{
		Total:  int64(st.Blocks) * unit,
		Free:   int64(st.Bavail) * unit,
		Inodes: int64(st.Files),
		IFree:  int64(st.Ffree),
	}, nil
}
