using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Completes names of users of the launch server of this machine.</summary>
public class ServerUserCompleter : LaunchCompleter
{
    private protected override bool InFolder => true;

    private protected override IReadOnlyList<string> DependsOn => ["Path"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) => [.. (await UsersAsync(bound, token)).Select(u => (u.Name, $"{u.Role} {string.Join(", ", u.Teams)}".Trim()))];

    private protected async Task<List<LaunchServerUser>> UsersAsync(IDictionary bound, CancellationToken token)
    {
        var path = One(bound, "Path") is { } given
            ? System.IO.Path.Combine(Folder, given)
            : LocalServers.DefaultPath(new LaunchContext());
        return await LocalServers.FindAsync(path, token) is { Running: true } server
            ? await new ServerUsers(server).AllAsync(token)
            : [];
    }
}
