package spool

import (
	"context"
	"fmt"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"os"
	"strconv"
	"testing"
)

func TestDbg(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("CUT"))
	mode, _ := strconv.Atoi(os.Getenv("MODE"))
	seed, _ := strconv.Atoi(os.Getenv("SEED"))
	for try := 0; try < 60; try++ {
		m := faultfs.NewMem()
		m.CutAfter(n)
		p := newPromise()
		werr := walk(p, crashConfig(m))
		c := m.CrashClone(faultfs.Unsynced(mode), uint64(seed+try))
		names, _ := c.ReadDir("/data/spool")
		for _, e := range names {
			if e.IsDir() {
				fs, _ := c.ReadDir("/data/spool/" + e.Name())
				for _, f := range fs {
					fi, _ := f.Info()
					fmt.Print(f.Name(), " ", fi.Size(), "; ")
				}
			}
		}
		fmt.Println()
		s, rec, err := Open(context.Background(), crashConfig(c))
		if err != nil {
			t.Fatal(err)
		}
		e := p.check(s, rec)
		if e == nil {
			rep, _ := s.Audit(context.Background())
			if len(rep.Findings) > 0 {
				e = fmt.Errorf("%v", rep.Findings)
				c.CopyTo("/tmp/spdbg")
			}
		}
		fmt.Printf("try %d walk:%v\n rec:%+v\n check:%v\n", try, werr, rec, e)
		if e != nil {
			for id, c := range p.contents {
				fmt.Println(id, len(c), p.rcpts[id])
			}
			return
		}
		_ = s.Close(context.Background())
	}
}
