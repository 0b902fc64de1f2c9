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

def fromjson: not_deep_ | any_fromjson_;
def tonumber: not_deep_ | if isnumber then . else any_fromjson_ | if isnumber then . else error("cannot parse as number") end end;
def toboolean: not_deep_ | if isboolean then . else any_fromjson_ | if isboolean then . else error("cannot parse as boolean") end end;
