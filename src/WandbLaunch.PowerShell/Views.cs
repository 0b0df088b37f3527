using System.Management.Automation;
using System.Management.Automation.Runspaces;
using System.Runtime.CompilerServices;

namespace WandbLaunch.PowerShell;

/// <summary>
/// The tables and lists of the module's objects. A format file in the manifest would make PowerShell read all of its own
/// views again while it imports, a third of the time; the first command loads it, once for a session and beside its work.
/// </summary>
internal static class Views
{
    private const string Import =
        "param($Path) Microsoft.PowerShell.Core\\Import-Module -Name $Path -Verbose:$false -Debug:$false -ErrorAction Stop";

    private static readonly ConditionalWeakTable<Runspace, object> Loaded = [];

    /// <summary>Loads the views into this thread's session, unless it has them.</summary>
    internal static void Load()
    {
        if (Runspace.DefaultRunspace is not { } session || !Loaded.TryAdd(session, session.InstanceId))
        {
            return;
        }

        try
        {
            // Into a module that nobody sees, for a user's list of modules and names is no place for this one.
            var hidden = new PSModuleInfo(linkToGlobal: true);
            hidden.Invoke(
                ScriptBlock.Create(Import),
                Path.Combine(Path.GetDirectoryName(typeof(Views).Assembly.Location)!, "WandbLaunch.Views.psd1")
            );
        }
        catch (PipelineStoppedException)
        {
            // Ctrl+C came in the middle: the next command does it.
            Loaded.Remove(session);
        }
        catch (Exception e) when (e is RuntimeException or InvalidOperationException)
        {
            // A session that may not import: objects are shown with all their properties.
        }
    }
}
