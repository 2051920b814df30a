package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/notify"
	"github.com/tcplimbo/tcplimbo/userspace/serve"
)

// configPoll is how often the configuration file is looked at. Not inotify: kubelet's and
// people's ways of replacing a file differ, network file systems tell of none, and a host
// full of containers may have no inotify instance left (fs.inotify.max_user_instances).
const configPoll = time.Second

// reloader reads the configuration again, at SIGHUP and when its file has changed.
type reloader struct {
	load    func() (*config.Run, error)
	running *config.Run
	file    string
	log     zerolog.Logger
	metrics *serve.Metrics
	state   *serve.State
	service *notify.Service
	// to is where the agent takes other settings from.
	to chan<- *agent.Settings
}

// start begins to wait for reasons to reload. What it returns ends that.
func (r *reloader) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	hangup, done := make(chan os.Signal, 1), make(chan struct{})
	// Under nohup(1) the signal stays ignored.
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(hangup, syscall.SIGHUP)
	}
	seen := stampOf(r.file)
	go func() {
		defer close(done)
		r.wait(ctx, hangup, seen)
	}()
	return func() {
		signal.Stop(hangup)
		cancel()
		<-done
	}
}

func (r *reloader) wait(ctx context.Context, hangup <-chan os.Signal, seen stamp) {
	var poll <-chan time.Time
	if r.file != "" {
		ticker := time.NewTicker(configPoll)
		defer ticker.Stop()
		poll = ticker.C
	}
	last := seen
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if r.file == "" {
				r.log.Info().Msg("SIGHUP ignored: there is no configuration file to reload")
				continue
			}
			// What is written later is another change.
			seen = stampOf(r.file)
			last = seen
			r.reload(ctx)
		case <-poll:
			now := stampOf(r.file)
			// Seen twice alike: it is not being written at this moment.
			if now == last && now != seen {
				seen = now
				r.reload(ctx)
			}
			last = now
		}
	}
}

// reload takes the file as a whole or not at all.
func (r *reloader) reload(ctx context.Context) {
	r.service.Reloading()
	defer r.service.Reloaded()
	next, err := r.load()
	if err != nil {
		r.metrics.Reloaded(false, time.Now())
		r.log.Error().Err(err).Msg("configuration not reloaded, the old one stays in effect")
		return
	}
	merged, restart := r.running.Update(next)
	settings := agentSettings(merged)
	r.state.SetPace(max(settings.Tick, r.running.EffectiveTick()))
	select {
	case r.to <- &settings:
	case <-ctx.Done():
		return
	}
	r.running = merged
	r.metrics.Reloaded(true, time.Now())
	r.log.Info().Str("config", r.file).Int("rules", len(merged.Rules.Rules)).Msg("configuration reloaded")
	if len(restart) > 0 {
		r.log.Warn().Str("settings", strings.Join(restart, ", ")).
			Msg("these settings need a restart to change, their old values stay in effect")
	}
}

// stamp tells one version of a file from the next, also where a symbolic link on the way
// was exchanged. It is zero where there is no file.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

func stampOf(path string) stamp {
	var st syscall.Stat_t
	if path == "" || syscall.Stat(path, &st) != nil {
		return stamp{}
	}
	return stamp{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
}
