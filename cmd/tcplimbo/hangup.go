package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"
)

// onHangup keeps SIGHUP from ending the daemon: whoever sends it wants the
// configuration re-read. That is not done yet, and said. Under nohup(1) the
// signal stays ignored. It returns what ends this.
func onHangup(log zerolog.Logger, configFile string) (stop func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return func() {}
	}
	signals, ended, done := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer close(done)
		for {
			select {
			case <-signals:
				sayHangup(log, configFile)
			case <-ended:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(ended)
		<-done
	}
}

func sayHangup(log zerolog.Logger, configFile string) {
	if configFile == "" {
		log.Info().Msg("SIGHUP ignored: there is no configuration file to reload")
		return
	}
	log.Warn().Str("config", configFile).Msg("SIGHUP ignored: this version does not reload the configuration; restart to apply it")
}
