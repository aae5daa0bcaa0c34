// How main.bicepparam reads a list: entries separated by commas, each once.

@export()
@description('The entries of a list without blanks around them, in small letters, each once.')
func entries(list string) string[] =>
  union([], filter(map(split(list, ','), entry => toLower(trim(entry))), entry => !empty(entry)))

@export()
@description('Whether a text may be a mail address.')
func isAddress(text string) bool =>
  length(split(text, '@')) == 2 && !empty(first(split(text, '@'))) && contains(last(split(text, '@')), '.') && !contains(
    text,
    ' '
  )

@export()
@description('Whether a text has digits only, and how many of them it may have.')
func isNumber(text string, least int, most int) bool =>
  length(text) >= least && length(text) <= most && empty(reduce(
    range(0, 10),
    text,
    (rest, digit) => replace(string(rest), string(digit), '')
  ))

@export()
@description('Whether a text is a country code, a colon and a number.')
func isTelephone(text string) bool =>
  length(split(text, ':')) == 2 && isNumber(first(split(text, ':')), 1, 3) && isNumber(last(split(text, ':')), 4, 15)
