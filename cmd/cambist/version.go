package main

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

type versionCmd struct{}

// Run prints the version.
func (c *versionCmd) Run(a *app) error {
	fmt.Fprintln(a.stdout, versionText())
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintln(a.stdout, "go", strings.TrimPrefix(info.GoVersion, "go"))
		for _, s := range info.Settings {
			if slices.Contains([]string{"vcs.revision", "vcs.time", "vcs.modified", "GOARCH", "GOOS", "CGO_ENABLED"}, s.Key) {
				fmt.Fprintln(a.stdout, s.Key, s.Value)
			}
		}
	}
	return nil
}

// versionText is the version of a release, else that of the module as it was
// built.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
