package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/userspace/config"
)

func (w *world) configCommand() *command {
	return &command{
		name: "config", usage: "check or print the configuration, or print its schema",
		description: "The settings are those of `tcplimbo run`: flags, environment and file are put together in the same way.",
		sub:         []*command{w.configCheckCommand(), w.configPrintCommand(), configSchemaCommand()},
		examples: []example{
			{"tcplimbo config check /etc/tcplimbo.yaml", "before a roll-out; the exit code is 2 if something is wrong"},
			{"tcplimbo config print --config /etc/tcplimbo.yaml", "what would be in effect, and where it comes from"},
			{"tcplimbo config schema > tcplimbo.schema.json", "for an editor"},
		},
	}
}

func (w *world) configCheckCommand() *command {
	return &command{
		name: "config check", usage: "check the configuration as run would, and start nothing",
		args: fileArg, flags: runFlags(),
		description: "What is wrong is said with file, line and column, and the exit code is 2. FILE is another way to write --config.",
		examples: []example{
			{"tcplimbo config check /etc/tcplimbo.yaml", "a file"},
			{"tcplimbo config check", "the environment alone"},
		},
		run: func(c *cli.Context) error {
			cfg, err := w.loadConfig(c)
			if err != nil {
				return err
			}
			where := "no file"
			if cfg.ConfigFile != "" {
				where = cfg.ConfigFile
			}
			_, err = fmt.Fprintf(c.App.Writer, "ok: %s (kinds: %d, rules: %d)\n", where, len(cfg.Kinds()), len(cfg.Rules.Rules))
			return writing(err)
		},
	}
}

func (w *world) configPrintCommand() *command {
	return &command{
		name: "config print", usage: "print what is in effect, as a file with the source of each value",
		args: fileArg, flags: runFlags(),
		description: "Each value has its source behind it: default, file, environment or flag.",
		examples:    []example{{"tcplimbo config print /etc/tcplimbo.yaml", "what a file comes to"}},
		run: func(c *cli.Context) error {
			cfg, err := w.loadConfig(c)
			if err != nil {
				return err
			}
			return writing(cfg.WriteYAML(c.App.Writer))
		},
	}
}

func configSchemaCommand() *command {
	return &command{
		name: "config schema", usage: "print the JSON Schema of the file",
		description: "Editors complete and check with it. What it accepts `tcplimbo config check` may still refuse, " +
			"such as a rule that can never match.",
		examples: []example{{"tcplimbo config schema > tcplimbo.schema.json", "for an editor"}},
		run: func(c *cli.Context) error {
			return writing(config.WriteSchema(c.App.Writer))
		},
	}
}

// loadConfig is what run does first. An argument stands for --config.
func (w *world) loadConfig(c *cli.Context) (*config.Run, error) {
	flags := givenFlags(c)
	switch {
	case c.NArg() > 1:
		return nil, usageError("unexpected argument %q; give one file", c.Args().Get(1))
	case c.NArg() == 1 && flags["config"] != "":
		return nil, usageError("two files: %q and --config %q; give one", c.Args().First(), flags["config"])
	case c.NArg() == 1:
		flags["config"] = c.Args().First()
	}
	cfg, err := config.Load(flags, w.lookupEnv)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return cfg, nil
}
