package jsonline

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"testing"

	"github.com/tcplimbo/tcplimbo/docs"
	"github.com/tcplimbo/tcplimbo/userspace/communityid"
)

// example finds the records in the pages; lines are broken between members.
var example = regexp.MustCompile("(?s)```json\n(.*?)\n```")

// TestExamplesInTheDocs: the records that the pages show have the contract's
// keys and the ID of their connection.
func TestExamplesInTheDocs(t *testing.T) {
	pages, err := fs.Glob(docs.Findings, "findings/*.md")
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, page := range pages {
		text, err := docs.Findings.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range example.FindAllSubmatch(text, -1) {
			records++
			checkExample(t, page, m[1])
		}
	}
	if records < 5 {
		t.Errorf("%d records found in the pages, want one of each kind that is flagged at least", records)
	}
}

func checkExample(t *testing.T, page string, text []byte) {
	t.Helper()
	record := map[string]any{}
	if err := json.Unmarshal(text, &record); err != nil {
		t.Errorf("%s: decoding a record: %v\n%s", page, err, text)
		return
	}
	for key := range record {
		if !slices.Contains(contractKeys, key) {
			t.Errorf("%s: %s is no key of the contract", page, key)
		}
	}
	end := func(which string) netip.AddrPort {
		port, _ := record["network."+which+".port"].(float64)
		ap, err := netip.ParseAddrPort(fmt.Sprintf("%v:%d", record["network."+which+".address"], int(port)))
		if err != nil {
			t.Errorf("%s: %v", page, err)
		}
		return ap
	}
	want := string(communityid.Append(nil, end("local"), end("peer")))
	if got := record["tcplimbo.network.community_id"]; got != want {
		t.Errorf("%s: the connection %v %v is %v, want %s", page, end("local"), end("peer"), got, want)
	}
}
