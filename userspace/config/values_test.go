package config

import (
	"strings"
	"testing"
)

// FuzzSettings gives one text to every setting, as a flag or the environment
// would: it is taken, or refused in one clean line of bounded length that tells
// the setting.
func FuzzSettings(f *testing.F) {
	for _, seed := range []string{
		"", "0", "30s", "-1s", "1h1m1s", "9223372036854775807ns", "1e9h", "-" + strings.Repeat("0", 3000) + "1s",
		"64KiB", "9223372036854775807g", "-1", "4096", "4097", ":9890", "[::1]:0", "[::1", "host:port:1", "a\x00b", "\x1b[2J\n", "\u202e\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range Settings() {
			if s.Name == "config" {
				continue // names a file, which is read
			}
			_, err := Load(map[string]string{s.Name: text}, func(string) (string, bool) { return "", false })
			if err == nil {
				continue
			}
			message := err.Error()
			if strings.ContainsAny(message, "\n\r\x1b\x00\u202e") || len(message) > 512 || !strings.Contains(message, s.Name) {
				t.Errorf("--%s %.80q: %.600q", s.Name, text, message)
			}
		}
	})
}
