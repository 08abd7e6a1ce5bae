#compdef safeip
# zsh completion for safeip(8), made from the program's own grammar

# The names of services, out of the file that --config names. What is no name is left out
_safeip_service() {
  local -a found
  [[ -f $config && -r $config ]] && found=(${(f)"$(command head -c 1048576 -- $config 2>/dev/null | LC_ALL=C command sed -nE \
    's/^[[:blank:]]*\[[[:blank:]]*services[[:blank:]]*\.[[:blank:]]*"?([a-z][a-z0-9-]{0,23})"?[[:blank:]]*\].*$/\1/p')"})
  _wanted services expl service compadd -a found
}

# _safeip_asked KEY VERB...: what the daemon lists under a key. Only listings are asked for, only by root, and not for long
_safeip_asked() {
  local key=$1
  local -a found
  shift
  [[ $PREFIX == -* ]] && return 1 # an option is typed
  (( EUID == 0 )) && found=(${(f)"$(command timeout 3 safeip --config $config $@ --json 2>/dev/null </dev/null |
    LC_ALL=C command sed -nE "s/^ *\"$key\": \"([0-9A-Za-z][0-9A-Za-z:.\/_-]{0,63})\",?\$/\1/p" | command sort -u)"})
  _wanted $key expl $key compadd -a found
}

# _safeip_free WHAT: says what is typed here, where no option is
_safeip_free() { [[ $PREFIX != -* ]] && _message $1 }

_safeip_link() { _safeip_asked id link list }
_safeip_token() { _safeip_asked id token list }
_safeip_person() { _safeip_asked name person list }
_safeip_holder() { _safeip_asked holder grants }
_safeip_granted() { _safeip_asked address grants }
_safeip_banned() { _safeip_asked address bans }
_safeip_duration() { _wanted durations expl duration compadd 15m 2h 12h 7d }

# @GRAMMAR@

# its own value is asked for before anything else, as the shell would read it, but without running anything
_safeip() {
  local config=/etc/safeip/safeip.toml
  local -i at=${words[(I)--config]}
  (( at && at + 1 < CURRENT )) && config=${(Q)words[at + 1]}
  at=${words[(I)--config=*]}
  (( at && at < CURRENT )) && config=${(Q)${words[at]#--config=}}
  [[ $config == \~/* ]] && config=$HOME${config:1}
  _safeip_verb
}

if [[ $funcstack[1] == _safeip ]]; then
  _safeip "$@"
else
  compdef _safeip safeip
fi
