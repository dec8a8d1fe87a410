package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// MakeDir makes name and the directories above it that are missing, and makes
// their names durable. MkdirAll alone does not: after a power cut a directory
// is gone, with all that was synced inside, when its name in the directory
// above was not synced. When name exists, only the directory above it is
// synced: a process that was killed in here may have left that undone.
func MakeDir(fsys FS, name string) error {
	var above []string // of each directory that is missing, the nearest first
	for dir := filepath.Clean(name); ; {
		_, err := fsys.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make directory %s: %w", name, err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		above = append(above, parent)
		dir = parent
	}
	if len(above) == 0 {
		err := fsys.SyncDir(filepath.Dir(filepath.Clean(name)))
		if errors.Is(err, fs.ErrPermission) {
			return nil // whoever may not read it has not made name either
		}
		return err
	}
	if err := fsys.MkdirAll(name); err != nil {
		return fmt.Errorf("make directory %s: %w", name, err)
	}
	for _, dir := range above {
		if err := fsys.SyncDir(dir); err != nil {
			return fmt.Errorf("make directory %s: sync %s: %w", name, dir, err)
		}
	}
	return nil
}
