"use strict";
// From what is typed to neurons: the list of words is read once, entries of a word when wanted.
LA.search = (() => {
  // Words whose entries are read for one search, and the most entries that are shown.
  const MOST_WORDS = 40;
  const MOST_ENTRIES = 20000;
  const lists = new Map();

  // As `word_key` in Python does with tokens.
  function wordKey(text) {
    const key = text.normalize("NFKC").toLowerCase().replaceAll("ς", "σ").trim();
    return key || LA.marked(text);
  }

  function wordList(part) {
    if (!lists.has(part)) {
      lists.set(part, LA.load(`${part}/words`).then((document) => ({
        ...document,
        starts: document.counts.reduce((sums, count) => {
          sums.push(sums[sums.length - 1] + count);
          return sums;
        }, [0]),
      })));
    }
    return lists.get(part);
  }

  // Words that hold what was typed: the word itself, then words that begin with it, then others;
  // among each the ones that most neurons decode to.
  function matches(list, typed) {
    const key = wordKey(typed);
    if (!key) return [];
    const found = [];
    for (let word = 0; word < list.words.length; word += 1) {
      const place = list.words[word].indexOf(key);
      if (place < 0) continue;
      const exact = list.words[word].length === key.length;
      found.push({ word, text: list.words[word], count: list.counts[word], order: exact ? 0 : place ? 2 : 1 });
    }
    found.sort((a, b) => a.order - b.order || b.count - a.count || a.word - b.word);
    return found;
  }

  function chunkOf(list, word) {
    let low = 0;
    let high = list.first.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (list.first[middle] <= word) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // The entries of one word.
  async function entries(part, list, word) {
    const chunk = chunkOf(list, word);
    const first = list.first[chunk];
    const document = await LA.load(`${part}/words-${String(chunk).padStart(4, "0")}`);
    const offset = list.starts[first];
    const found = [];
    for (let row = list.starts[word] - offset; row < list.starts[word + 1] - offset; row += 1) {
      found.push({
        layer: Math.floor(document.neuron[row] / 1e6),
        neuron: document.neuron[row] % 1e6,
        end: document.end[row],
        rank: document.rank[row],
        token: document.variants[word - first][document.variant[row]],
        z: document.z[row] / 10,
      });
    }
    return found;
  }

  // Neurons for what was typed; `only` narrows to one of the words found.
  async function neurons(part, typed, only) {
    const list = await wordList(part);
    const found = matches(list, typed);
    const chosen = [];
    let expected = 0;
    for (const match of only ? found.filter((each) => each.text === only) : found.slice(0, MOST_WORDS)) {
      if (chosen.length && expected + match.count > MOST_ENTRIES) break;
      chosen.push(match);
      expected += match.count;
    }
    const parts = await Promise.all(chosen.map((match) => entries(part, list, match.word)));
    return { words: found, used: chosen, entries: parts.flat() };
  }

  return { neurons, wordKey };
})();
