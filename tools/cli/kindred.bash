# Completion of `kindred` in bash (in zsh after `autoload -U bashcompinit && bashcompinit`): commands and
# options are what the command's own --help says. Source this file, or let bash-completion find it.

# Of help on standard input: the words that begin a command's line, or an option's.
_kindred_commands() {
    sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\)  .*/\1/p'
}
_kindred_options() {
    grep -oE '^ {2,6}(-[a-zA-Z], )?--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+'
}

_kindred() {
    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]} help i
    local -a command=()
    for ((i = 1; i < COMP_CWORD && ${#command[@]} < 2; i++)); do
        case ${COMP_WORDS[i]} in
        -*) break ;;
        *) command+=("${COMP_WORDS[i]}") ;;
        esac
    done
    help=$("${COMP_WORDS[0]}" "${command[@]}" --help 2>/dev/null) ||
        help=$("${COMP_WORDS[0]}" "${command[@]:0:1}" --help 2>/dev/null) || return
    COMPREPLY=()
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_kindred_options <<<"$help")" -- "$word")
    elif [[ $help == *$'\nCommands:\n'* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_kindred_commands <<<"$help")" -- "$word")
    elif [[ $last == --model || $last == --collection ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" "${last#--}" list 2>/dev/null |
            awk 'NR > 1 {print $1}')" -- "$word")
    fi
}
complete -o default -F _kindred kindred
