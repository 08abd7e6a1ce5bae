# shellcheck shell=bash
# bash completion for safeip(8), made from the program's own grammar

# What may follow a verb: actions, options, of those with a value its kind, and the kinds of arguments
_safeip_grammar()
{
    verbs='' options='' valued='' places=''
    case $1 in
        @GRAMMAR@) ;;
    esac
}

# Offers those of its arguments that begin with what is typed. They are never expanded, wherever they come from
_safeip_offer()
{
    local one
    for one; do
        [[ $one == "$word"* ]] && COMPREPLY+=("$one")
    done
}

# _safeip_kind OPTION: sets the kind of its value; fails where it takes none
_safeip_kind()
{
    local one
    for one in $valued; do
        [[ $one == "$1="* ]] && kind=${one#*=} && return 0
    done
    return 1
}

# The names of services, out of the file that --config names. What is no name is left out
_safeip_services()
{
    [[ -f $config && -r $config ]] || return 0
    command head -c 1048576 -- "$config" 2>/dev/null | LC_ALL=C command sed -nE \
        's/^[[:blank:]]*\[[[:blank:]]*services[[:blank:]]*\.[[:blank:]]*"?([a-z][a-z0-9-]{0,23})"?[[:blank:]]*\].*$/\1/p'
}

# _safeip_asked KEY VERB...: what the daemon lists under a key. Only listings are asked for, only by root, and not for long
_safeip_asked()
{
    ((EUID == 0)) || return 0
    local key=$1
    shift
    command timeout 3 safeip --config "$config" "$@" --json 2>/dev/null </dev/null |
        LC_ALL=C command sed -nE "s/^ *\"$key\": \"([0-9A-Za-z][0-9A-Za-z:.\/_-]{0,63})\",?\$/\\1/p" | command sort -u
}

# Offers what there is of a kind
_safeip_values()
{
    local -a found=()
    case $1 in
        file) compopt -o default ;;
        directory) compopt -o dirnames ;;
        duration) _safeip_offer 15m 2h 12h 7d ;;
        service) mapfile -t found < <(_safeip_services) ;;
        link) mapfile -t found < <(_safeip_asked id link list) ;;
        token) mapfile -t found < <(_safeip_asked id token list) ;;
        person) mapfile -t found < <(_safeip_asked name person list) ;;
        holder) mapfile -t found < <(_safeip_asked holder grants) ;;
        granted) mapfile -t found < <(_safeip_asked address grants) ;;
        banned) mapfile -t found < <(_safeip_asked address bans) ;;
        *'|'*) IFS='|' read -r -a found <<<"$1" ;;
    esac
    _safeip_offer "${found[@]}"
}

_safeip()
{
    local verbs options valued places kind='' path='' word value config=/etc/safeip/safeip.toml at one IFS=$' \t\n'
    local -a words=() kinds=()
    COMPREPLY=()

    # bash takes words apart at = and :, so what has nothing between it is put together again
    local rest=${COMP_LINE:0:COMP_POINT} piece gap
    for ((at = 0; at <= COMP_CWORD; at++)); do
        piece=${COMP_WORDS[at]}
        ((at < COMP_CWORD)) || piece=${rest#"${rest%%[![:blank:]]*}"}
        gap=$rest
        [[ -z $piece ]] || gap=${rest%%"$piece"*}
        rest=${rest:${#gap}+${#piece}}
        if ((at == 0)) || [[ -n $gap ]]; then
            words+=("$piece")
        else
            words[-1]+=$piece
        fi
    done

    _safeip_grammar ''
    for ((at = 1; at < ${#words[@]} - 1; at++)); do
        one=${words[at]} kind=''
        if [[ $one == --*=* ]] || _safeip_kind "$one"; then
            value=${one#*=}
            if [[ $one != --*=* ]]; then
                value=${words[++at]}
                # the value is what is being typed
                ((at < ${#words[@]} - 1)) || break
            fi
            kind=''
            [[ ${one%%=*} != --config ]] || config=$value
        elif [[ $one == -?* ]]; then
            :
        elif [[ -n $verbs ]]; then
            [[ " $verbs " == *" $one "* ]] || return 0
            path+=${path:+ }$one
            _safeip_grammar "$path"
            read -r -a kinds <<<"$places"
        else
            kinds=("${kinds[@]:1}")
        fi
    done
    # as the shell would read it, but without running anything
    config=${config//[\"\'\\]/}
    [[ $config != \~/* ]] || config=$HOME${config:1}

    word=${words[-1]#[\"\']}
    if [[ -z $kind && $word == --*=* ]] && _safeip_kind "${word%%=*}"; then
        value=${word%%=*}=
        word=${word#*=}
        _safeip_values "$kind"
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$value}")
    elif [[ -n $kind ]]; then
        _safeip_values "$kind"
    elif [[ $word == -* ]]; then
        # shellcheck disable=SC2086 # words of this file
        _safeip_offer $options
    elif [[ -n $verbs ]]; then
        # shellcheck disable=SC2086 # words of this file
        _safeip_offer $verbs
    elif ((${#kinds[@]})); then
        _safeip_values "${kinds[0]}"
    else
        # shellcheck disable=SC2086 # words of this file
        _safeip_offer $options
    fi

    # bash puts what is chosen behind the last of its word breaks
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}")
    fi
}

complete -F _safeip safeip
