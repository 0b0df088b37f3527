using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes teams of users of the launch server of this machine.</summary>
public sealed class ServerTeamCompleter : ServerUserCompleter
{
    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        [
            .. (await UsersAsync(bound, token))
                .SelectMany(u => u.Teams, (u, team) => (Team: team, u.Name))
                .GroupBy(t => t.Team, t => t.Name, StringComparer.Ordinal)
                .OrderBy(t => t.Key, StringComparer.Ordinal)
                .Select(t => (t.Key, string.Join(", ", t))),
        ];
}
