using System.Collections.Frozen;
using System.Security.Claims;
using Microsoft.AspNetCore.Authentication;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Auth;

/// <summary>What a user may do: everything, what teams do, or look.</summary>
internal enum Role
{
    /// <summary>Sees what is the teams' and changes nothing.</summary>
    ReadOnly,

    /// <summary>Works in the teams.</summary>
    Member,

    /// <summary>Everything, everywhere, users too.</summary>
    Admin,
}

/// <summary>Who a request is from. There is one object for each user, made again when something of the user changes.</summary>
internal sealed class Caller
{
    /// <summary>Name of whoever has the server's own key.</summary>
    internal const string OwnName = "local";

    private readonly FrozenSet<string> _entities;

    /// <param name="id">Number of the user; 0 is the server's own key.</param>
    /// <param name="name">Name of the user.</param>
    /// <param name="role">What the user may do.</param>
    /// <param name="teams">The teams of the user.</param>
    /// <param name="keyHash">Hash of the user's key, in hexadecimal.</param>
    internal Caller(long id, string name, Role role, IReadOnlyCollection<string> teams, string keyHash = "")
    {
        Id = id;
        Pass = id == 0 ? "" : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{id}-{keyHash[..16]}");
        Name = name;
        Role = role;
        Teams = teams;
        Entities = [name, .. teams];
        _entities = Entities.ToFrozenSet(StringComparer.Ordinal);
        Ticket = AuthenticateResult.Success(
            new AuthenticationTicket(
                new ClaimsPrincipal(
                    new ClaimsIdentity(
                        [new Claim(LaunchAuthenticationHandler.Reach, LaunchAuthenticationHandler.Everything)],
                        LaunchAuthenticationHandler.SchemeName
                    )
                ),
                LaunchAuthenticationHandler.SchemeName
            )
        );
    }

    /// <summary>Number of the user; 0 is the server's own key.</summary>
    internal long Id { get; }

    /// <summary>What a session, a link and a signed address stand for: the user with the key of now. Another key ends them. Empty for the server's own key.</summary>
    internal string Pass { get; }

    internal string Name { get; }

    internal Role Role { get; }

    internal IReadOnlyCollection<string> Teams { get; }

    /// <summary>The user's own entity, and those of the teams.</summary>
    internal string[] Entities { get; }

    internal bool IsAdmin => Role == Role.Admin;

    /// <summary>What the framework is told.</summary>
    internal AuthenticateResult Ticket { get; }

    internal bool MayRead(string? entity) => IsAdmin || (entity is not null && _entities.Contains(entity));

    internal bool MayWrite(string? entity) => Role != Role.ReadOnly && MayRead(entity);

    /// <summary>A queue of a team is all of the team's; a private one is its maker's.</summary>
    internal bool MayRead(QueueRecord queue) => MaySee(queue.Entity, queue.Access, queue.CreatedBy);

    internal bool MayWrite(QueueRecord queue) => Role != Role.ReadOnly && MayRead(queue);

    /// <inheritdoc cref="MayRead(QueueRecord)"/>
    internal bool MaySee(string entity, string access, string createdBy) =>
        IsAdmin || (MayRead(entity) && (access != "USER" || createdBy == Name));

    /// <summary>Why not.</summary>
    internal string Refusal =>
        Role == Role.ReadOnly
            ? $"permission denied: the key of {Name} is read-only. Ask an admin of the server for the role Member (Set-WandbLaunchServerUser)."
            : $"permission denied: this is not {Name}'s, nor a team's of {Name}. Ask an admin of the server for a team that it belongs to (Set-WandbLaunchServerUser).";
}
