using System.Management.Automation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands for users of the launch server of this machine.</summary>
public abstract class LaunchServerUserCommand : PipelineCommand
{
    /// <summary>SQLite file of the server. Default: in the user's data folder.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string? Path { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(LaunchServerInfo), nameof(LaunchServerUser)];

    private protected async Task<ServerUsers> UsersAsync() =>
        await ServerUsers.OfAsync(Path is null ? LocalServers.DefaultPath(Context) : FullPath(Path), Token);

    /// <summary>The names that are meant; a wildcard means those that there are.</summary>
    private protected async Task<IEnumerable<string>> NamesAsync(ServerUsers users, string[] names) =>
        names.Any(WildcardPattern.ContainsWildcardCharacters)
            ? (await users.AllAsync(Token))
                .Select(u => u.Name)
                .Where(n => names.Any(p => WildcardPattern.Get(p, WildcardOptions.IgnoreCase).IsMatch(n)))
                .Concat(names.Where(n => !WildcardPattern.ContainsWildcardCharacters(n)))
                .Distinct(StringComparer.OrdinalIgnoreCase)
            : names;
}
