# What jaq defines in another way than jq, or not at all.

# Null is no text.
def join($separator):
  reduce .[] as $item (null;
    (if . == null then "" else . + $separator end)
    + ($item | if . == null then "" elif isboolean or isnumber then tojson else . end)
  ) // "";

# What is not there is not made, and the order of the others stays.
def delete_path_($path):
  if . == null or $path == [] then null
  else
    $path[0] as $key |
    if isobject then
      if has($key) | not then .
      elif $path[1:] == [] then with_entries(select(.key != $key))
      else .[$key] |= delete_path_($path[1:]) end
    elif $path[1:] == [] then .[$key]? |= empty
    else .[$key]? |= delete_path_($path[1:]) end
  end;
def delpaths($paths): reduce ($paths | sort | reverse | .[]) as $path (.; delete_path_($path));
def del(f): delpaths([path(f)]);

def in_row_(text):
  if isstring then text
  elif . == null then ""
  elif isboolean or isnumber then tojson
  else error("arrays and objects are not valid in a row") end;
def @csv: [.[] | in_row_("\"" + (. / "\"" | join("\"\"")) + "\"")] | join(",");
def @tsv: [.[] | in_row_(
  . / "\\" | join("\\\\") | . / "\t" | join("\\t") | . / "\n" | join("\\n") | . / "\r" | join("\\r"))] | join("\t");

# A text is one value, or none.
def one_fromjson_: not_deep_ | [any_fromjson_] | if .[1:] == [] then .[] else error("more than one value in a text") end;
def fromjson: one_fromjson_;
# Only JSON has a number in that form.
def tonumber:
  not_deep_ | if isnumber then .
  elif isstring and test("^\\s*-?[0-9.][0-9.eE+-]*\\s*$") then
    one_fromjson_ | if isnumber then . else error("cannot parse as number") end
  else error("cannot parse as number") end;
def toboolean: not_deep_ | if isboolean then . else any_fromjson_ | if isboolean then . else error("cannot parse as boolean") end end;

# What is not there has no place and no parts: most lines have no flags.
def indices($what): if . == null then null else any_indices_($what) end;
def index($what): if . == null then null else any_indices_($what)[0] end;
def rindex($what): if . == null then null else any_indices_($what)[-1:][0] end;
def reverse: if . == null then [] elif isstring then explode | reverse | implode else [.[length - 1 - range(length)]] end;
def ltrimstr($what): if isstring and ($what | isstring) then any_ltrimstr_($what) else . end;
def rtrimstr($what): if isstring and ($what | isstring) then any_rtrimstr_($what) else . end;
def flatten:
  if isarray then [recurse(arrays[]) | select(isarray | not)]
  elif isobject then [.[]] | flatten
  else error("cannot be flattened") end;

# The logarithm of its absolute value.
def gamma: lgamma;

def IN(values): any(values == .; .);
def IN(source; values): any(source == values; .);
def toarray: if isarray then . else [.] end;
def leaf_paths: paths(scalars);
