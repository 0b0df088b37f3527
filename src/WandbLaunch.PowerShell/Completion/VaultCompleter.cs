using System.Collections;
using System.Management.Automation;
using System.Management.Automation.Runspaces;

namespace WandbLaunch.PowerShell;

/// <summary>Completes vaults of Microsoft.PowerShell.SecretManagement, where it is installed.</summary>
public class VaultCompleter : LaunchCompleter
{
    // A new shell loads the module each time.
    private protected override TimeSpan Fresh => TimeSpan.FromSeconds(30);

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) => [.. (await AskAsync("Get-SecretVault", null, token)).Select(v => (Text(v, "Name"), Text(v, "ModuleName")))];

    /// <summary>
    /// What a command of the vaults' module gives. In a shell of its own, beside the prompt: a vault may take long, and one
    /// that is locked asks nobody there.
    /// </summary>
    private protected static async Task<IReadOnlyList<PSObject>> AskAsync(
        string command,
        string? vault,
        CancellationToken token
    )
    {
        using var runspace = RunspaceFactory.CreateRunspace(InitialSessionState.CreateDefault());
        runspace.Open();
        using var shell = System.Management.Automation.PowerShell.Create();
        shell.Runspace = runspace;
        shell.AddCommand(command);
        if (vault is not null)
        {
            shell.AddParameter("Vault", vault);
        }

        // A module that hangs is left behind, and not waited for.
        using var stop = token.Register(() => shell.BeginStop(null, null));
        return [.. await Task.Factory.FromAsync(shell.BeginInvoke(), shell.EndInvoke)];
    }

    private protected static string Text(PSObject of, string property) =>
        of.Properties[property]?.Value?.ToString() ?? "";
}
