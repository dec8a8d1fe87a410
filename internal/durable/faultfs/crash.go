package faultfs

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Unsynced says what becomes of that which was not synced when the power went.
type Unsynced int

// The choices.
const (
	// KeepNone leaves only what Sync and SyncDir covered.
	KeepNone Unsynced = iota
	// KeepAll leaves everything: a disk that wrote all in time, or a killed
	// process on a machine that lives on.
	KeepAll
	// KeepSome leaves what the seed picks, within the table in doc.go.
	KeepSome
)

// CrashClone returns the disk as it is after the power came back, with no
// locks, no cut and no calls counted. m goes on as it was; a clone may be
// taken at any time, before or after the cut.
func (m *Mem) CrashClone(mode Unsynced, seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Mem{locks: map[*node]bool{}, cut: -1, serial: m.serial}
	k := cloner{mode: mode, seed: seed, done: map[*node]*node{}}
	if mode == KeepSome {
		k.some = someNames(m.journal, seed)
	}
	c.root = k.clone(m.root)
	return c
}

type cloner struct {
	mode Unsynced
	seed uint64
	some map[*node]map[string]*node // KeepSome: names of directories that differ from durable
	done map[*node]*node
}

func (k *cloner) clone(n *node) *node {
	if c := k.done[n]; c != nil {
		return c
	}
	c := &node{serial: n.serial}
	k.done[n] = c
	if n.files == nil {
		c.data = n.data.crash(k.mode, rand.New(rand.NewPCG(k.seed, uint64(n.serial))))
		return c
	}
	c.data = newData()
	c.files = map[string]*node{}
	for name, child := range k.names(n) {
		c.files[name] = k.clone(child)
	}
	c.durable = maps.Clone(c.files)
	return c
}

func (k *cloner) names(n *node) map[string]*node {
	if k.mode == KeepAll {
		return n.files
	}
	if kept, ok := k.some[n]; ok {
		return kept
	}
	return n.durable
}

// someNames applies to each directory a prefix of its changes. A change of two
// directories (a rename) happens in both or in neither; a directory that lost
// one change loses all later ones.
func someNames(journal []nameOp, seed uint64) map[*node]map[string]*node {
	rng := rand.New(rand.NewPCG(seed, 0))
	left := map[*node]int{} // changes that each directory may still keep
	var dirs []*node
	for _, op := range journal {
		for i, e := range op.set {
			if i > 0 && op.set[0].dir == e.dir {
				continue
			}
			if left[e.dir] == 0 {
				dirs = append(dirs, e.dir)
			}
			left[e.dir]++
		}
	}
	kept := map[*node]map[string]*node{}
	for _, d := range dirs {
		left[d] = rng.IntN(left[d] + 1)
		kept[d] = maps.Clone(d.durable)
	}
	for _, op := range journal {
		keep := true
		for _, e := range op.set {
			keep = keep && left[e.dir] > 0
		}
		for i, e := range op.set {
			if keep {
				put(kept[e.dir], e)
			}
			switch {
			case !keep:
				left[e.dir] = 0
			case i == 0 || op.set[0].dir != e.dir:
				left[e.dir]--
			}
		}
	}
	return kept
}

// crash returns what the disk holds of a file.
func (d *data) crash(mode Unsynced, rng *rand.Rand) data {
	c := data{size: d.synced, live: maps.Clone(d.disk)}
	switch mode {
	case KeepAll:
		c.size, c.live = d.size, maps.Clone(d.live)
	case KeepSome:
		d.some(&c, rng)
	}
	c.synced, c.disk = c.size, maps.Clone(c.live)
	return c
}

// some picks a prefix of the size and hole changes and then, for each sector
// that was touched, one of the versions that may stand with that prefix.
func (d *data) some(c *data, rng *rand.Rand) {
	metas := rng.IntN(len(d.sizes) + 1)
	if metas > 0 {
		c.size = d.sizes[metas-1]
	}
	pages := map[int64][]*page{}
	for _, v := range d.log {
		if pages[v.no] == nil {
			pages[v.no] = []*page{d.disk[v.no]}
		}
		switch {
		case v.meta >= metas: // this change of size or hole did not happen
		case v.meta >= 0: // it did: nothing older can be there
			pages[v.no] = []*page{v.p}
		default:
			pages[v.no] = append(pages[v.no], v.p)
		}
	}
	for _, no := range slices.Sorted(maps.Keys(pages)) {
		c.live[no] = torn(pages[no], rng)
	}
	for no, p := range c.live {
		if end := c.size - no*pageSize; end <= 0 {
			delete(c.live, no)
		} else if end < pageSize {
			cut := *p
			clear(cut[end:])
			c.live[no] = &cut
		}
	}
}

func torn(versions []*page, rng *rand.Rand) *page {
	p := new(page)
	for s := 0; s < pageSize; s += sectorSize {
		if v := versions[rng.IntN(len(versions))]; v != nil {
			copy(p[s:s+sectorSize], v[s:])
		}
	}
	return p
}

// CopyTo writes the tree as processes see it into dir of the real file system,
// sparse where it can be, for tools that read with package os. A power cut
// does not hinder it.
func (m *Mem) CopyTo(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root.copyTo(dir)
}

func (n *node) copyTo(name string) error {
	if n.files != nil {
		if err := os.MkdirAll(name, 0o700); err != nil {
			return err
		}
		for base, child := range n.files {
			if err := child.copyTo(filepath.Join(name, base)); err != nil {
				return err
			}
		}
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for no, p := range n.data.live {
		if _, err := f.WriteAt(p[:], no*pageSize); err != nil {
			return err
		}
	}
	if err := f.Truncate(n.data.size); err != nil {
		return err
	}
	return f.Close()
}
