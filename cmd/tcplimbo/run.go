package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/notify"
	"github.com/tcplimbo/tcplimbo/userspace/serve"
)

// agentInput is what the agent gets.
type agentInput struct {
	Config *config.Run
	Source sourceChoice
	// Polled: there is no eBPF. It is known once the kernel side is open.
	Polled bool
	Log    zerolog.Logger
	// Stdout is for findings, Terminal how to write there.
	Stdout   io.Writer
	Terminal terminal
	Metrics  *serve.Metrics
	State    *serve.State
	// Ready must be called once programs are attached and the first snapshot
	// is done.
	Ready func() error
	// OTLP is where records and metrics are sent to.
	OTLP otlpTargets
	// Reload gives other settings, while the agent runs.
	Reload <-chan *agent.Settings
	// Reopen gets SIGUSR1: the log file was moved away.
	Reopen <-chan os.Signal
}

func (w *world) runCommand() *command {
	return &command{
		name: "run", usage: "watch, flag and stream findings until SIGINT or SIGTERM",
		description: "Each setting can stand in the environment (--close-wait as TCPLIMBO_CLOSE_WAIT) and in the YAML file " +
			"(close-wait: 30s) too. A flag wins over the environment, the environment over the file.",
		flags: runFlags(),
		examples: []example{
			{"sudo tcplimbo run -o console", "for people"},
			{"sudo tcplimbo run --close-wait 10s --syn-sent 0 | jq .message", "forgotten connections sooner, no stalled connects"},
			{"sudo tcplimbo run -o none --log-file /var/log/tcplimbo.json", "as a service"},
			{"sudo tcplimbo run -o none --otlp-endpoint http://collector:4318", "to an OpenTelemetry collector"},
			{"sudo tcplimbo run --config /etc/tcplimbo.yaml", "settings from a file"},
			{"tcplimbo run --source sockdiag -o console", "without eBPF and without privileges: what this user may see"},
		},
		run: w.run,
	}
}

func runFlags() []flagSpec {
	var flags []flagSpec
	for _, s := range config.Settings() {
		flags = append(flags, flagSpec{
			name: s.Name, short: s.Short, placeholder: s.Placeholder, def: s.Default, usage: s.Usage,
			group: s.Group, values: s.Values, file: s.File, hidden: s.Hidden,
		})
	}
	return flags
}

func (w *world) run(c *cli.Context) error {
	cfg, err := config.Load(givenFlags(c), w.lookupEnv)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	targets, err := findOTLP(cfg)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	blocked, err := w.preflight(cfg.Kernel)
	if err != nil {
		return err
	}
	// Without this a reader that ends would kill the process before its last
	// words (os/signal, "SIGPIPE"); with it the write fails, and that is told.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := untilSignal(c.Context, cfg.Duration)
	defer stop()
	reopen := make(chan os.Signal, 1)
	signal.Notify(reopen, syscall.SIGUSR1)
	defer signal.Stop(reopen)

	in := &agentInput{
		Config:   cfg,
		Source:   sourceChoice{cfg.Kernel, blocked},
		Log:      newLogger(w.stderr, w.stderrTerminal),
		Stdout:   c.App.Writer,
		Terminal: w.stdoutTerminal,
		Metrics:  newMetrics(cfg),
		State:    new(serve.State),
		OTLP:     targets,
		Reopen:   reopen,
	}
	in.State.SetPace(cfg.EffectiveTick())
	service := &notify.Service{
		OnError: func(err error) { in.Log.Warn().Err(err).Msg("the service manager is not told") },
		Health:  in.State.Health,
	}
	settings := make(chan *agent.Settings)
	in.Reload = settings
	reload := &reloader{
		load:    func() (*config.Run, error) { return config.Load(givenFlags(c), w.lookupEnv) },
		running: cfg, file: cfg.ConfigFile, log: in.Log, metrics: in.Metrics, state: in.State,
		service: service, to: settings,
	}
	defer reload.start(ctx)()
	removeStale(cfg.ReadyFile)
	server, err := startServer(ctx, in)
	if err != nil {
		return err
	}
	in.Ready = func() error {
		// Not a word before: if the start fails, the error stands alone.
		server.announce()
		w.warnMistyped(in.Log)
		if err := ready(in.State, cfg.ReadyFile); err != nil {
			return err
		}
		w.takeLess()
		w.confine(cfg, in.Polled, in.Log)
		service.Ready("watching")
		go service.Watch(ctx)
		return nil
	}
	context.AfterFunc(ctx, service.Stopping)
	err = ended(ctx, w.runAgent(ctx, in))
	stop()
	server.wait()
	return err
}

// warnMistyped tells of environment variables that look like settings and are none.
func (w *world) warnMistyped(log zerolog.Logger) {
	for _, m := range config.MistypedEnv(w.environ()) {
		log.Warn().Str("variable", m.Name).Str("meant", m.Meant).Msg("environment variable ignored: it names no setting")
	}
}

// givenFlags returns what stands on the command line, defaults left out.
func givenFlags(c *cli.Context) map[string]string {
	given := map[string]string{}
	for _, s := range config.Settings() {
		if c.IsSet(s.Name) {
			given[s.Name] = c.String(s.Name)
		}
	}
	return given
}

// ended makes the end that was asked for no error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}

// ready tells /readyz and whoever waits for the file.
func ready(state *serve.State, file string) error {
	state.SetReady()
	if file == "" {
		return nil
	}
	// No O_TRUNC: touching must not empty a file that was named by mistake.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return fmt.Errorf("touching ready file: %w; name a file that can be written", err)
	}
	now := time.Now()
	if err := errors.Join(os.Chtimes(file, now, now), f.Close()); err != nil {
		return fmt.Errorf("touching ready file: %w", err)
	}
	return nil
}
