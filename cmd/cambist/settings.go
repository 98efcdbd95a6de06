package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/v2"
)

// settingsFile is the file of --config. Its keys are the flags of serve, nested
// at the dots: keys.kek_file is --keys-kek-file.
type settingsFile struct {
	path   string
	values map[string]any // by flag name
	parsed *kong.Context
}

// load reads the file for kong, which asks it for what neither a flag nor the
// environment gave.
func (s *settingsFile) load(r io.Reader) (kong.Resolver, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	k := koanf.New("\x00") // no key is split: trust domains have dots
	if err := k.Load(rawBytes(raw), yaml.Parser()); err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	s.values = map[string]any{}
	s.flatten("", k.Raw())
	if f, ok := r.(*os.File); ok {
		s.path = f.Name()
	}
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		value, ok := s.values[flag.Name]
		if !ok || environment(flag) != "" { // kong would let the file win
			return nil, nil
		}
		return value, nil
	}), nil
}

// environment returns the variable that sets a flag, "" if none does.
func environment(flag *kong.Flag) string {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return name
		}
	}
	return ""
}

// mapFlags are the flags whose value is a map, which is not flattened further.
var mapFlags = []string{"identity-bundles", "identity-jwt-bundles", "trust"}

func (s *settingsFile) flatten(prefix string, values map[string]any) {
	for key, value := range values {
		name := prefix + strings.ReplaceAll(key, "_", "-")
		nested, isMap := value.(map[string]any)
		if isMap && !slices.Contains(mapFlags, name) {
			s.flatten(name+"-", nested)
			continue
		}
		s.values[name] = value
	}
}

// unknown refuses a file with a key that is no flag: a misspelt setting must
// not be a default.
func (s *settingsFile) unknown(model *kong.Application) error {
	known := map[string]bool{}
	for _, node := range model.Children {
		if node.Name == "serve" {
			for _, flag := range node.Flags {
				known[flag.Name] = true
			}
		}
	}
	var bad []string
	for name := range s.values {
		if !known[name] {
			bad = append(bad, name)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	slices.Sort(bad)
	return fmt.Errorf("settings file: unknown setting %q; cambist serve --help lists what there is, keys.kek_file stands for --keys-kek-file", bad[0])
}

// origin says where the value of a flag came from.
func (s *settingsFile) origin(flag *kong.Flag) string {
	for _, step := range s.parsed.Path {
		if step.Flag == flag && !step.Resolved {
			return "flag"
		}
	}
	if name := environment(flag); name != "" {
		return "environment " + name
	}
	if _, ok := s.values[flag.Name]; ok {
		return "file"
	}
	return "default"
}

// rawBytes is a koanf provider over bytes already read.
type rawBytes []byte

// ReadBytes returns the bytes.
func (b rawBytes) ReadBytes() ([]byte, error) { return b, nil }

// Read is not used: the bytes go through a parser.
func (b rawBytes) Read() (map[string]any, error) {
	return nil, fmt.Errorf("settings file: needs a parser")
}
