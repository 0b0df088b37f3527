using System.Management.Automation;

namespace WandbLaunch.PowerShell;

/// <summary>Lists the users of the launch server of this machine.</summary>
/// <remarks>Shows who has a key of the server, with what role and in which teams. The key itself is not shown: the server does not have it. Whoever has the server's own key (the file in KeyPath of Get-WandbLaunchServer) is its owner, and in no list.</remarks>
/// <example><para>Who may use it?</para><code>Start-WandbLaunchServer | Get-WandbLaunchServerUser</code><para>Name, role and teams of each.</para></example>
/// <example><para>Who is in a team?</para><code>Connect-Wandb -Local; Get-WandbLaunchServerUser | Where-Object Teams -Contains vision</code><para>Teams is a list.</para></example>
/// <example><para>Keys that are older than a year</para><code>Connect-Wandb -Local; Get-WandbLaunchServerUser | Where-Object KeyCreated -lt (Get-Date).AddYears(-1)</code><para>Give them another: Set-WandbLaunchServerUser -NewKey.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunchServerUser")]
[OutputType("WandbLaunch.LocalServer.LaunchServerUser")]
public sealed class GetWandbLaunchServerUserCommand : LaunchServerUserCommand
{
    /// <summary>Names of users; wildcards are allowed.</summary>
    [Parameter(Position = 0, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ServerUserCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = ["*"];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var users = await UsersAsync();
        var all = await users.AllAsync(Token);
        foreach (var name in Name)
        {
            var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
            var found = all.FindAll(u => pattern.IsMatch(u.Name));
            OutputAll(found);
            if (found.Count == 0 && !WildcardPattern.ContainsWildcardCharacters(name))
            {
                Error(users.Missing(name), name);
            }
        }
    }
}
