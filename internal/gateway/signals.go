package gateway

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/postern-mail/postern/internal/telemetry"
)

// exitAtOnce is the status of a node that was told twice to stop.
const exitAtOnce = 130

// signals turns the process's signals into what they mean here.
type signals struct {
	incoming chan os.Signal
	quit     chan struct{}
	done     chan struct{}
}

func watchSignals(g *gateway) *signals {
	s := &signals{
		incoming: make(chan os.Signal, 4), // chosen: signals that come faster mean the same
		quit:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	signal.Notify(s.incoming, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go s.run(g)
	return s
}

func (s *signals) run(g *gateway) {
	defer close(s.done)
	stopping := false
	for {
		select {
		case <-s.quit:
			return
		case sig := <-s.incoming:
			switch {
			case sig == syscall.SIGHUP:
				g.reloadLogged()
			case stopping:
				os.Exit(exitAtOnce)
			default:
				stopping = true
				g.logSignal(sig)
				g.requestStop(0)
			}
		}
	}
}

// end gives the signals back to their defaults.
func (s *signals) end() {
	signal.Stop(s.incoming)
	close(s.quit)
	<-s.done
}

func (g *gateway) logSignal(sig os.Signal) {
	if g.built.Load() {
		g.log.Info("stopping", telemetry.KeySignal, sig.String())
	}
}
