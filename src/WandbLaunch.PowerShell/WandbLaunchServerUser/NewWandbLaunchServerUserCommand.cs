using System.Management.Automation;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Makes users of the launch server of this machine, each with a key.</summary>
/// <remarks>A user has an entity of the same name, and works in teams: entities whose projects and queues are all members'. Admin: everything on the server, its users too. Member: what is the user's and the teams'. ReadOnly: sees the same and changes nothing. The key comes once, as a SecureString in Key: the server keeps a hash of it alone. The user connects with Connect-Wandb -BaseUrl, and signs in to the page with it; W&amp;B's SDK takes it as WANDB_API_KEY.</remarks>
/// <example><para>A member of a team, and the key to hand over</para><code>Connect-Wandb -Local; (New-WandbLaunchServerUser ada -Team vision).Key | ConvertFrom-SecureString -AsPlainText</code><para>Nobody can show the key again.</para></example>
/// <example><para>A key into a file of its own</para><code>Connect-Wandb -Local; (New-WandbLaunchServerUser ci -Role ReadOnly -Team vision).Key | ConvertFrom-SecureString -AsPlainText | Set-Content ci.key</code><para>For a program that only reads.</para></example>
/// <example><para>Many at once, from a table</para><code>Connect-Wandb -Local; @('Name,Team', 'bob,vision', 'carol,speech') | ConvertFrom-Csv | New-WandbLaunchServerUser | ForEach-Object { "$($_.Name): $($_.Key | ConvertFrom-SecureString -AsPlainText)" }</code><para>Columns Name, Team and Role are taken by their names.</para></example>
[Cmdlet(VerbsCommon.New, "WandbLaunchServerUser", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.LocalServer.LaunchServerUser")]
public sealed class NewWandbLaunchServerUserCommand : LaunchServerUserCommand
{
    /// <summary>Names of 1 to 64 letters, digits, dots, dashes and underscores, the first of them a letter or digit.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string[] Name { get; set; } = [];

    /// <summary>Admin, Member or ReadOnly.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ValidateSet("Admin", "Member", "ReadOnly")]
    public string Role { get; set; } = "Member";

    /// <summary>Teams: entities, which need not be there yet.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("Teams")]
    [ArgumentCompleter(typeof(ServerTeamCompleter))]
    public string[] Team { get; set; } = [];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var users = await UsersAsync();
        foreach (var name in Name)
        {
            try
            {
                if (await ShouldProcessAsync(name, $"Make a user ({Role})"))
                {
                    Output(await users.AddAsync(name, Role, Team, Token));
                }
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}
