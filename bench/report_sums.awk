# The sums of `hookcache report`, by one pass over receipts as a function writes them, one JSON line each.
# Prints "name<TAB>value" lines. A request id counts once. Shares nothing with the program that it checks.

{
  id = substr($0, index($0, "\"request_id\":\"") + 14, 36)
  if (id in seen) { sum["twice"]++; next }
  seen[id] = 1
  sum["receipts"]++
  outcome = inside = latency = ""
  parts = split(substr($0, index($0, "]}]}") + 4), part, ",\"")
  for (i = 1; i <= parts; i++) {
    colon = index(part[i], "\":"); name = substr(part[i], 1, colon - 1); value = substr(part[i], colon + 2)
    first = substr(value, 1, 1)
    if (first == "{" && (colon = index(value, "\":"))) {  # an object of units: its first member stands in the same part
      inside = name "."; name = substr(value, 3, colon - 3); value = substr(value, colon + 2)
    }
    if (inside != "") {
      sum[inside name] += value
      if (index(value, "}")) inside = ""
    }
    else if (first == "[") {
      sum["metric." name] += substr(value, 2)
      if (name == "Latency") latency = substr(value, 2) + 0
    }
    else if (name == "outcome") outcome = substr(value, 2, length(value) - 2)
    else if (name == "cold_start" && value == "true") sum["cold_starts"]++
    else if (name == "replay" && value == "true") sum["replays"]++
    else if ((name == "reason" || name == "refusal") && length(value) > 2) sum[name "." substr(value, 2, length(value) - 2)]++
  }
  if (outcome == "failed") next
  kind = outcome == "hit_memory" || outcome == "hit_table" || outcome == "collapsed" ? "hit" : "backend"
  sum[kind ".count"]++
  sum[kind ".total"] += latency
  if (latency > sum[kind ".maximum"]) sum[kind ".maximum"] = latency
}

END {
  for (name in sum) printf "%s\t%.15g\n", name, sum[name]
  while ((getline line < "/proc/self/status") > 0)
    if (split(line, word, /[: \t]+/) && word[1] == "VmHWM") printf "peak_kib\t%d\n", word[2]
}
