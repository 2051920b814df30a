// Package nearest finds the word somebody probably meant.
package nearest

import "strings"

// maxWord bounds the work for a hostile word: no name of the program is longer.
const maxWord = 64

// To returns the candidate with the smallest edit distance to word, or "" if
// none is near enough to be a likely slip: about a third of the word's letters
// may differ, or the word is a beginning of exactly one candidate.
func To(word string, candidates []string) string {
	if word == "" || len(word) > maxWord {
		return ""
	}
	word = strings.ToLower(word)
	best, bestDistance := "", (len(word)+1)/3+1
	for _, c := range candidates {
		if d := distance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		best = onlyPrefixed(word, candidates)
	}
	return best
}

func onlyPrefixed(word string, candidates []string) string {
	found := ""
	for _, c := range candidates {
		if !strings.HasPrefix(c, word) {
			continue
		}
		if found != "" {
			return ""
		}
		found = c
	}
	return found
}

// distance is the optimal string alignment distance: inserted, deleted and
// changed bytes and swapped neighbours count one each. Swaps are the commonest
// slip of all, so they must not count two.
func distance(a, b string) int {
	before := make([]int, len(b)+1) // row i-2
	above := make([]int, len(b)+1)  // row i-1
	row := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
