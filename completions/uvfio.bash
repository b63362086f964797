# SPDX-License-Identifier: BSD-3-Clause
# Bash completion of uvfio. tests/style/cli_words.py compares it with the command's own help.

_uvfio_options()
{
	case $1 in
	'') echo '-h --help -V --version' ;;
	run) echo '-d --device -m --machine -j --join -c --char-devices -e --explain --json -v --verbose -q --quiet -h --help' ;;
	up) echo '-n --name -d --device -s --socket-dir -f --foreground -j --json -v --verbose -q --quiet -h --help' ;;
	serve) echo '-d --device -s --socket-dir -n --name -j --json -v --verbose -q --quiet -h --help' ;;
	down) echo '-f --force -w --wait -h --help' ;;
	list) echo '-a --all -t --tree -c --clients -j --json -n --name -s --socket -h --help' ;;
	bind | unbind | sriov | iommu) echo '-j --json -n --name -s --socket -h --help' ;;
	events) echo '-f --follow -j --json -n --name -s --socket -h --help' ;;
	models | check) echo '-j --json -h --help' ;;
	help) echo '-h --help' ;;
	esac
}

_uvfio_commands='run up serve down list bind unbind sriov iommu events models check help'

# Models with their keys, as uvfio itself tells them.
_uvfio_specs()
{
	uvfio models 2>/dev/null | sed -n 's/^  \([a-z0-9_]*\): .*/\1/p'
}

# Names of machines, which is what their sockets are called.
_uvfio_machines()
{
	local dir
	for dir in "$XDG_RUNTIME_DIR/uvfio" "/run/user/$UID/uvfio" "/tmp/uvfio-$UID"; do
		[[ -O $dir ]] && ls "$dir" | sed -n '/[a-zA-Z].*\.sock$/s/\.sock$//p' && return
	done
}

_uvfio_devices()
{
	uvfio list 2>/dev/null | sed -n 's/^\([0-9a-f]*:[0-9a-f]*:[0-9a-f]*\.[0-7]\) .*/\1/p'
}

_uvfio()
{
	local cur prev words cword command='' i
	COMPREPLY=()
	# An address holds colons, which readline takes for the end of a word.
	if declare -F _get_comp_words_by_ref >/dev/null; then
		_get_comp_words_by_ref -n : cur prev words cword
	else
		words=("${COMP_WORDS[@]}")
		cword=$COMP_CWORD
		cur=${words[cword]}
		prev=${words[cword - 1]}
	fi
	[[ $cword -gt 1 ]] && command=${words[1]}

	if [[ $command == run ]]; then
		# What follows the first operand is another command's line.
		for ((i = 2; i < cword; i++)); do
			case ${words[i]} in
			-d | --device | -m | --machine | -j | --join) ((i++)) ;;
			--)
				((i++))
				break
				;;
			-*) ;;
			*) break ;;
			esac
		done
		if ((i <= cword)) && [[ ${words[i - 1]} == -- || ${words[i]} != -* ]]; then
			case $prev in
			-d | --device | -m | --machine | -j | --join) ;;
			*)
				if ((i < cword)) && declare -F _command_offset >/dev/null; then
					_command_offset "$i"
				elif ((i < cword)); then
					mapfile -t COMPREPLY < <(compgen -f -- "$cur")
				else
					mapfile -t COMPREPLY < <(compgen -c -- "$cur")
				fi
				return
				;;
			esac
		fi
	fi

	case $prev in
	-d | --device)
		[[ $command == run || $command == up || $command == serve ]] || return
		mapfile -t COMPREPLY < <(compgen -W "$(_uvfio_specs)" -- "$cur")
		compopt -o nospace 2>/dev/null
		return
		;;
	--join | --name)
		mapfile -t COMPREPLY < <(compgen -W "$(_uvfio_machines)" -- "$cur")
		return
		;;
	-j)
		if [[ $command == run ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$(_uvfio_machines)" -- "$cur")
			return
		fi
		;;
	-n)
		mapfile -t COMPREPLY < <(compgen -W "$(_uvfio_machines)" -- "$cur")
		return
		;;
	-m | --machine | -s | --socket | --socket-dir)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames 2>/dev/null
		return
		;;
	esac

	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_uvfio_options "$command")" -- "$cur")
	elif [[ -z $command || $command == help ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$_uvfio_commands" -- "$cur")
	elif [[ $command == up || $command == serve ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames 2>/dev/null
	elif [[ $command == down ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_uvfio_machines)" -- "$cur")
	elif [[ $command == bind && $prev != bind && $prev != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'vfio-pci nvme igb igbvf ioatdma pci-stub uio_pci_generic' -- "$cur")
	elif [[ $command == check ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames 2>/dev/null
	elif [[ $command == bind || $command == unbind || $command == sriov || $command == iommu ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_uvfio_devices)" -- "$cur")
		declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
	fi
}

complete -F _uvfio uvfio
