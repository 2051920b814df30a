package deploytest

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ Type, UID string }
	Targets     []struct {
		RefID, Expr string
		Datasource  struct{ UID string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, filepath.Join(root, "deploy", "grafana", "tcplimbo.json"))), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

type dashboardQuery struct{ title, expr string }

// dashboardQueries returns all queries as Grafana sends them with everything
// selected.
func dashboardQueries(t *testing.T) []dashboardQuery {
	t.Helper()
	set := strings.NewReplacer("$instance", ".*", "$namespace", ".*", "$__rate_interval", "1m", "$__range", "1h")
	var queries []dashboardQuery
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			queries = append(queries, dashboardQuery{p.Title + " " + target.RefID, set.Replace(target.Expr)})
		}
	}
	if len(queries) < 20 {
		t.Fatalf("%d queries found, want all of them", len(queries))
	}
	return queries
}

// TestDashboardIsValid: what Grafana would refuse or draw over itself.
func TestDashboardIsValid(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || d.SchemaVersion == 0 {
		t.Errorf("title %q, uid %q, schema %d", d.Title, d.UID, d.SchemaVersion)
	}
	variables := map[string]bool{"__rate_interval": true, "__range": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" {
			t.Errorf("panel %q has id %d, which is none or another's", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W <= 0 || p.GridPos.H <= 0 {
			t.Errorf("panel %q does not fit into 24 columns: %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Fatalf("panels %q and %q overlap", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q asks %q instead of the chosen data source", p.Title, target.Datasource.UID)
			}
			for _, part := range strings.Split(target.Expr, "$")[1:] {
				name := part[:strings.IndexFunc(part+" ", func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })]
				if !variables[name] {
					t.Errorf("panel %q uses $%s, which is no variable", p.Title, name)
				}
			}
		}
	}
}
