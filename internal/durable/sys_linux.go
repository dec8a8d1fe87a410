package durable

import "golang.org/x/sys/unix"

func (f *osFile) syncData() error { return f.do("fdatasync", unix.Fdatasync) }

func fallocate(fd int, size int64) error { return unix.Fallocate(fd, 0, 0, size) }

func punch(fd int, off, n int64) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func statSpace(name string) (Space, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(name, &st)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return Space{}, err
		}
	}
	unit := st.Frsize
	if unit == 0 {
		unit = st.Bsize
	}
	return Space{
		Total:  int64(st.Blocks) * unit,
		Free:   int64(st.Bavail) * unit,
		Inodes: int64(st.Files),
		IFree:  int64(st.Ffree),
	}, nil
}
